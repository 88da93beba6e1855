/** The reference compiler and interpreter of ACPI (iasl, acpiexec; Debian package acpica-tools) read the tables we build. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildAcpi } from '../machine/acpi/build.ts'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-acpi-'))
afterAll(() => fs.rmSync(folder, { recursive: true }))

function run(command: string, ...args: string[]): string {
  const result = spawnSync(command, args, { cwd: folder, encoding: 'utf8', input: '' })
  if (result.error !== undefined) throw new Error(`${command} does not run (${result.error.message}); install Debian's acpica-tools`)
  return result.stdout + result.stderr
}

const file = (name: string) => fs.readFileSync(path.join(folder, name))

beforeAll(() => {
  const { blobs } = buildAcpi({
    cpus: [0, 1, 2, 300], ioapic: { id: 3, address: 0xfec0_0000 }, serial: { port: 0x3f8, irq: 4 },
    virtioMmio: Array.from({ length: 40 }, (_, index) => ({ base: 0xf010_0000 + index * 0x200, size: 0x200, gsi: 5 + index })), power: { base: 0x600, gsi: 20 },
  })
  for (const { name, bytes } of blobs) fs.writeFileSync(path.join(folder, `${name}.dat`), bytes)
})

describe('iasl', () => {
  it('compiles its disassembly of the DSDT back to the same bytes, without a warning', () => {
    run('iasl', '-d', 'DSDT.dat')
    expect(run('iasl', '-oa', '-p', 'again', 'DSDT.dsl')).toMatch(/Compilation successful\. 0 Errors, 0 Warnings/)
    const HEADER_SIZE = 36
    expect(file('again.aml').subarray(HEADER_SIZE).equals(file('DSDT.dat').subarray(HEADER_SIZE))).toBe(true)
  })

  it.each(['FACP', 'APIC', 'XSDT'])('understands every byte of the %s table', (name) => {
    run('iasl', '-d', `${name}.dat`)
    const source = file(`${name}.dsl`).toString()
    expect(source).not.toMatch(/unknown|invalid|error|beyond/i)
    if (name === 'FACP') expect(source).toMatch(/Hardware Reduced \(V5\) : 1/)
    if (name === 'APIC') expect(source.match(/Subtable Type/g)).toHaveLength(8)
  })
})

describe('acpiexec', () => {
  it('runs the event method and reads the sleep package', () => {
    expect(run('acpiexec', '-b', 'evaluate \\_SB.GED._EVT 20', 'DSDT.dat')).toMatch(/No object was returned from evaluation of \\_SB\.GED\._EVT/)
    expect(run('acpiexec', '-b', 'evaluate \\_S5', 'DSDT.dat')).toMatch(/\[Integer\] = 0000000000000005/)
  })
})
