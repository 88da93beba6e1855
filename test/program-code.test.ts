import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import vm from 'node:vm'
import { afterAll, describe, expect, it } from 'vitest'
import { MESOVIRT } from './support/vm.ts'

const DIST = path.dirname(MESOVIRT)
const copy = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-code-'))
afterAll(() => fs.rmSync(copy, { recursive: true }))

function versionOfCopy(change: (code: string) => void): ReturnType<typeof spawnSync> {
  fs.cpSync(DIST, path.join(copy, 'dist'), { recursive: true, filter: (file) => !/(types|\.map)$/.test(file) })
  change(path.join(copy, 'dist', 'program.code'))
  return spawnSync(process.execPath, [path.join(copy, 'dist', 'mesovirt.js'), '-version'], { encoding: 'utf8' })
}

describe('the compiled code beside the program', () => {
  it('is what this Node takes', () => {
    const source = fs.readFileSync(path.join(DIST, 'program.js'), 'latin1')
    const script = new vm.Script(source, { cachedData: fs.readFileSync(path.join(DIST, 'program.code')) })
    expect(script.cachedDataRejected).toBe(false)
  })

  it.each<[string, (code: string) => void]>([
    ['is not there', (code) => fs.rmSync(code)],
    ['is empty', (code) => fs.writeFileSync(code, '')],
    ['is of another version of V8', (code) => fs.writeFileSync(code, fs.readFileSync(code).fill(0x55, 4, 8))],
    ['is cut off', (code) => fs.truncateSync(code, 1000)],
  ])('does not matter when it %s', (_, change) => {
    expect(versionOfCopy(change)).toMatchObject({ status: 0, stderr: '', stdout: expect.stringMatching(/^mesovirt /) as string })
  })
})
