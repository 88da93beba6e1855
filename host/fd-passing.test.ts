import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ffi } from './ffi.ts'
import { receiveFds, sendFds } from './fd-passing.ts'

const AF_UNIX = 1, SOCK_STREAM = 1

let pair: [number, number]
let folder: string

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-fds-'))
  const fds = new Int32Array(2)
  const socketpair = ffi().libraries.c.func('int socketpair(int domain, int type, int protocol, void* fds)') as (...values: unknown[]) => number
  expect(socketpair(AF_UNIX, SOCK_STREAM, 0, fds)).toBe(0)
  pair = [fds[0] as number, fds[1] as number]
})

afterEach(() => {
  for (const fd of pair) fs.closeSync(fd)
  fs.rmSync(folder, { recursive: true })
})

describe('file descriptors over a unix socket', () => {
  it('arrive with the bytes, as new descriptors of the same files', () => {
    const file = path.join(folder, 'passed')
    const original = fs.openSync(file, 'w+')
    expect(sendFds(pair[0], Buffer.from('two of them'), [original, original])).toBe(11)
    const received = receiveFds(pair[1], 100)
    fs.closeSync(original)
    expect(Buffer.from(received?.data ?? []).toString()).toBe('two of them')
    expect(received?.fds).toHaveLength(2)
    expect(received?.fds).not.toContain(original)
    fs.writeSync(received?.fds[0] ?? -1, 'through the copy')
    for (const fd of received?.fds ?? []) fs.closeSync(fd)
    expect(fs.readFileSync(file, 'utf8')).toBe('through the copy')
  })

  it('are none where only bytes were sent, and nothing is there before', () => {
    expect(receiveFds(pair[1], 10)).toBeUndefined()
    sendFds(pair[0], Buffer.from('plain'), [])
    expect(receiveFds(pair[1], 10)).toEqual({ data: new Uint8Array(Buffer.from('plain')), fds: [] })
  })

  it('travel up to the kernel limit of 253, no further and not without a byte', () => {
    expect(() => sendFds(pair[0], new Uint8Array(0), [pair[0]])).toThrow('at least one byte')
    expect(() => sendFds(pair[0], new Uint8Array(1), new Array<number>(254).fill(pair[0]))).toThrow('at most 253')
    sendFds(pair[0], new Uint8Array(1), new Array<number>(253).fill(pair[0]))
    const received = receiveFds(pair[1], 1)
    expect(received?.fds).toHaveLength(253)
    for (const fd of received?.fds ?? []) fs.closeSync(fd)
  })

  it('tells the end of the stream and a broken one', () => {
    const other = fs.openSync('/dev/null', 'r')
    expect(() => sendFds(other, new Uint8Array(1), [])).toThrow('ENOTSOCK')
    expect(() => receiveFds(other, 1)).toThrow('ENOTSOCK')
    fs.closeSync(other)
  })
})
