/** The translator forced from the first execution: all instruction vectors, the bare-metal guest on one to four vCPUs, and the whole RAM of Linux guests after the same number of instructions. */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { cachedInitramfs, fetchGuest } from '../../src/guest/fetch-guest.ts'
import { buildGuest, parseReport } from '../guest/build.ts'
import { describeWhere } from '../support/optional.ts'
import { guests, MESOVIRT, scratch } from '../support/vm.ts'
import { CoreExecutor } from '../vectors/core.ts'
import { allGroups, unitOf } from '../vectors/groups.ts'
import { replay } from '../vectors/replay.ts'

const UNITS = [...new Set(allGroups().map(unitOf))]
const HAS_BINUTILS = ['as', 'ld'].every((tool) => spawnSync(tool, ['--version'], { stdio: 'ignore' }).status === 0)
const PATIENCE_MS = 20 * 60_000

describe('all instruction vectors, each translated', () => {
  it.each(UNITS)('%s vectors agree with silicon', (unit) => {
    const report = replay(new CoreExecutor('dist/core.wasm', true), unit, { path: 'run', specialised: true })
    expect(report.disagreements.map((each) => `${each.group}: ${each.wrong}: ${each.examples[0] ?? ''}`)).toEqual([])
  }, 2 * PATIENCE_MS)
})

describeWhere(HAS_BINUTILS, 'binutils (as, ld), to be had with apt-get install binutils', 'the bare-metal guest, everything translated', () => {
  it.each([1, 2, 4])('passes every check with %i vCPUs', (cpus) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [MESOVIRT, '-machine', 'microvm', '-accel', 'tcg,translator=force', '-m', '128', '-serial', 'stdio', '-kernel', buildGuest(), '-smp', String(cpus)],
      { encoding: 'utf8', input: '', timeout: PATIENCE_MS, killSignal: 'SIGKILL' })
    expect(status, stderr).toBe(0)
    expect(parseReport(stdout).complete).toBe(true)
    expect(parseReport(stdout).failed).toEqual([])
  }, PATIENCE_MS)
})

/** What a Linux guest does until it powers off; each is another number of instructions. */
const SCRIPTS: Readonly<Record<string, string>> = {
  'nothing': 'true',
  'processes and pipes': 'for i in 1 2 3 4 5 6 7 8 9 10; do seq 1000 | sort -r | sha256sum; done',
  'memory and files': 'dd if=/dev/zero of=/tmp/zero bs=1M count=20 2>/dev/null; gzip -c /tmp/zero | gunzip | md5sum; cp -r /bin /tmp/bin; find / -xdev | wc -l',
}

describe.each(Object.entries(SCRIPTS))('Linux under -icount that does %s and powers off', (_, script) => {
  let initrd = ''
  beforeAll(async () => {
    const { busybox } = await fetchGuest({ cacheDir: path.join('.cache', 'guest'), flavour: 'cloud' })
    initrd = cachedInitramfs(path.resolve('.cache', 'guest'), { busybox: fs.readFileSync(busybox), extraFiles: { 'run-at-boot': { content: `#!/bin/sh\n${script}\n`, mode: 0o755 } } })
  })

  it('leaves the same RAM and console interpreted and translated', () => {
    const run = (translator: string): { readonly ram: string; readonly console: string } => {
      const ram = path.join(scratch(), 'ram')
      const { status, stdout, stderr } = spawnSync(process.execPath, [MESOVIRT, '-machine', 'microvm,mem-share=on', '-accel', `tcg,translator=${translator}`, '-icount', 'shift=2,sleep=off', '-m', '128', '-mem-path', ram,
        '-kernel', guests.cloud.vmlinux, '-initrd', initrd, '-append', 'console=ttyS0 panic=1 norandmaps', '-serial', 'stdio'], { encoding: 'utf8', input: '', timeout: PATIENCE_MS, killSignal: 'SIGKILL' })
      expect(status, stderr).toBe(0)
      return { ram: createHash('sha256').update(fs.readFileSync(ram)).digest('hex'), console: stdout }
    }
    const interpreted = run('off')
    expect(interpreted.console).toMatch(/reboot: Power down/)
    expect(run('on')).toEqual(interpreted)
    expect(run('force')).toEqual(interpreted)
  }, 3 * PATIENCE_MS)
})
