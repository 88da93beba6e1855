/** What a snapshot keeps of a queue: where both sides are, and the buffers in flight with all their segments, since a packed ring may have lost them. */
import type { GuestMemory } from '../../../address-space/guest-memory.ts'
import { damaged, stateBoolean, stateNumber, stateRecord } from '../../state.ts'
import { Chain } from './chain.ts'
import type { Segment } from './chain.ts'

export interface ChainState {
  readonly id: number
  readonly slots: number
  readonly descriptors: number
  /** pairs of guest address and length */
  readonly readable: readonly (readonly [number, number])[]
  readonly writable: readonly (readonly [number, number])[]
}

export interface QueueState {
  /** Next entry of the available ring (split, 0..65535) or descriptor (packed, below the size). */
  readonly nextAvailable: number
  readonly nextUsed: number
  /** Packed rings: wrap counters. Split rings have true. */
  readonly availableWrap: boolean
  readonly usedWrap: boolean
  readonly inFlight: readonly ChainState[]
}

const NAME = 'virtqueue'
const MAX_SEGMENTS = 0x1_0000

export function saveChain(chain: Chain): ChainState {
  const pairs = (segments: readonly Segment[]) => segments.map(({ address, bytes }) => [address, bytes.length] as const)
  return { id: chain.id, slots: chain.slots, descriptors: chain.descriptors, readable: pairs(chain.readable), writable: pairs(chain.writable) }
}

/** Checks what claims to be a QueueState, except for what needs guest memory. @throws MesovirtError DEVICE_STATE */
export function checkQueueState(state: unknown, isPacked: boolean, size: number): QueueState {
  const record = stateRecord(NAME, state)
  const max = isPacked ? size - 1 : 0xffff
  if (!Array.isArray(record['inFlight']) || record['inFlight'].length > size) throw damaged(NAME, `inFlight is not a list of at most ${size} buffers`)
  const result: QueueState = {
    nextAvailable: stateNumber(NAME, record, 'nextAvailable', max), nextUsed: stateNumber(NAME, record, 'nextUsed', max),
    availableWrap: stateBoolean(NAME, record, 'availableWrap'), usedWrap: stateBoolean(NAME, record, 'usedWrap'),
    inFlight: record['inFlight'].map((entry: unknown) => {
      const chain = stateRecord(NAME, entry)
      return {
        id: stateNumber(NAME, chain, 'id', 0xffff), slots: stateNumber(NAME, chain, 'slots', size), descriptors: stateNumber(NAME, chain, 'descriptors', MAX_SEGMENTS),
        readable: checkPairs(chain, 'readable'), writable: checkPairs(chain, 'writable'),
      }
    }),
  }
  if (result.inFlight.reduce((sum, { slots }) => sum + slots, 0) > size) throw damaged(NAME, 'more buffers are in flight than the queue holds')
  return result
}

/** @throws MesovirtError DEVICE_STATE where a segment is not in guest RAM */
export function restoreChains(chains: readonly ChainState[], memory: GuestMemory, size: number): Chain[] {
  const segments = (pairs: ChainState['readable']) => pairs.flatMap(([address, length]) => {
    const parts = memory.parts(address, length)
    if (parts === undefined || length === 0) throw damaged(NAME, 'a buffer lies outside guest RAM')
    let at = address
    return parts.map((bytes): Segment => {
      const segment = { address: at, bytes }
      at += bytes.length
      return segment
    })
  })
  return chains.slice(0, size).map(({ id, slots, descriptors, readable, writable }) => new Chain(id, slots, descriptors, segments(readable), segments(writable)))
}

function checkPairs(record: Record<string, unknown>, field: string): [number, number][] {
  const value = record[field]
  const isPair = (pair: unknown): pair is [number, number] => Array.isArray(pair) && pair.length === 2 && pair.every((item) => Number.isSafeInteger(item) && item >= 0)
  if (!Array.isArray(value) || value.length > MAX_SEGMENTS || !value.every(isPair)) throw damaged(NAME, `${field} is not a list of places in memory`)
  return value
}
