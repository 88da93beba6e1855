/** What a snapshot keeps of a virtio-mmio transport and the device behind it. */
import { damaged, stateBoolean, stateNumber, stateRecord } from '../state.ts'
import { checkQueueSetup } from './queue-setup.ts'
import type { QueueSetupState } from './queue-setup.ts'

export interface VirtioMmioState {
  readonly status: number
  readonly interruptStatus: number
  readonly configGeneration: number
  readonly configPending: boolean
  readonly deviceFeaturesSel: number
  readonly driverFeaturesSel: number
  /** bits 0 to 31, bits 32 to 63 */
  readonly driverFeatures: readonly [number, number]
  readonly driverWantsMore: boolean
  readonly queueSel: number
  readonly queues: readonly QueueSetupState[]
  /** What the device's own `state()` said. */
  readonly device: unknown
}

export const RESET_STATE: VirtioMmioState = {
  status: 0, interruptStatus: 0, configGeneration: 0, configPending: false, deviceFeaturesSel: 0, driverFeaturesSel: 0, driverFeatures: [0, 0],
  driverWantsMore: false, queueSel: 0, queues: [], device: undefined,
}

const NAME = 'virtio-mmio'
const U32 = 0xffff_ffff
const ALL_STATUS_BITS = 0xcf
const ALL_INTERRUPTS = 3

/** @throws MesovirtError DEVICE_STATE */
export function checkMmioState(state: unknown, queueCount: number): VirtioMmioState {
  const record = stateRecord(NAME, state)
  const features = record['driverFeatures']
  const isWord = (word: unknown) => typeof word === 'number' && Number.isInteger(word) && word >= 0 && word <= U32
  if (!Array.isArray(features) || features.length !== 2 || !features.every(isWord)) throw damaged(NAME, 'driverFeatures are not two words')
  const queues = record['queues']
  if (!Array.isArray(queues) || queues.length !== queueCount) throw damaged(NAME, `it has not the ${queueCount} queues of this device`)
  const status = stateNumber(NAME, record, 'status', 0xff)
  if ((status & ~ALL_STATUS_BITS) !== 0) throw damaged(NAME, `status ${status} has unknown bits`)
  return {
    status, interruptStatus: stateNumber(NAME, record, 'interruptStatus', ALL_INTERRUPTS), configGeneration: stateNumber(NAME, record, 'configGeneration', U32),
    configPending: stateBoolean(NAME, record, 'configPending'), deviceFeaturesSel: stateNumber(NAME, record, 'deviceFeaturesSel', U32),
    driverFeaturesSel: stateNumber(NAME, record, 'driverFeaturesSel', U32), driverFeatures: [features[0] as number, features[1] as number],
    driverWantsMore: stateBoolean(NAME, record, 'driverWantsMore'), queueSel: stateNumber(NAME, record, 'queueSel', U32),
    queues: queues.map(checkQueueSetup), device: record['device'],
  }
}
