import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { canLoad, describeWhere } from '../test/support/optional.ts'
import { nativeOption, openRamFile } from './ram-backing.ts'

const MIB = 2 ** 20

let folder: string
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-backing-'))
})
afterEach(() => fs.rmSync(folder, { recursive: true }))

it('the option that needs more than memory of this process is named; by default none does', () => {
  expect(nativeOption({})).toBeUndefined()
  expect(nativeOption({ share: false, dump: true, preallocate: false })).toBeUndefined()
  expect(nativeOption({ path: '/a\nb', share: true })).toBe('-mem-path /a?b')
  expect(nativeOption({ share: true })).toBe('-machine mem-share=on')
  expect(nativeOption({ preallocate: true, dump: false })).toBe('-mem-prealloc')
  expect(nativeOption({ dump: false })).toBe('-machine dump-guest-core=off')
})

describeWhere(process.platform === 'linux' && canLoad('koffi'), 'Linux with the package koffi (npm install koffi)', 'what -mem-path cannot be', () => {
  const at = (name: string) => path.join(folder, name)
  const refusal = (where: string, size = 16 * MIB, share = false): string => {
    const before = fs.existsSync(folder) ? fs.readdirSync(folder) : []
    const open = fs.readdirSync('/proc/self/fd').length
    let message = ''
    try {
      openRamFile(size, { path: where, share })?.close()
    } catch (error) {
      message = (error as Error).message
    }
    expect(fs.readdirSync(folder)).toEqual(before)
    expect(fs.readdirSync('/proc/self/fd')).toHaveLength(open)
    return message.replaceAll(folder, 'FOLDER')
  }

  it('a file in a folder that is not there', () => {
    expect(refusal(at('no/file'))).toBe('-mem-path FOLDER/no/file: its folder does not exist; check the path')
    fs.writeFileSync(at('file'), '')
    expect(refusal(at('file/in-it'))).toBe('-mem-path FOLDER/file/in-it: its folder does not exist; check the path')
  })

  it('a device or a pipe', () => {
    expect(refusal('/dev/null')).toBe('-mem-path /dev/null: is neither a file nor a folder; give the path of one')
    spawnSync('mkfifo', [at('pipe')])
    expect(refusal(at('pipe'))).toMatch(/neither a file nor a folder/)
  })

  it.each([false, true])('a file with something else in it, which is left as it is (shared: %s)', (share) => {
    fs.writeFileSync(at('notes'), 'x'.repeat(3 * MIB))
    expect(refusal(at('notes'), 16 * MIB, share)).toBe('-mem-path FOLDER/notes: the file has 3 MiB and -m needs 16 MiB; give one that is as large, empty, or not there yet')
    expect(fs.statSync(at('notes')).size).toBe(3 * MIB)
  })

  it('a file system without room, where every page needs some', () => {
    expect(refusal(at('large'), 2 ** 45, true)).toMatch(/^-mem-path FOLDER\/large: its file system has \d+ MiB left and -m needs 33554432 MiB; use a smaller -m, or another place$/)
    expect(refusal('/dev/shm', 2 ** 45)).toMatch(/^-mem-path \/dev\/shm: its file system has \d+ MiB left/)
  })

  it('a file that nothing is written to may be larger than RAM, and without write permission', () => {
    fs.writeFileSync(at('snapshot'), Buffer.alloc(5 * MIB), { mode: 0o400 })
    const file = openRamFile(4 * MIB, { path: at('snapshot') })
    expect(() => fs.writeSync(file?.fd ?? -1, 'x')).toThrow(/EBADF/)
    file?.close()
    expect(fs.statSync(at('snapshot')).size).toBe(5 * MIB)
  })
})
