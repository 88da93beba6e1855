/** A machine whose root file system is on a disk that `mesovirt guest --disk` makes: with a lease and a file over `-netdev user`. */
import { spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import http from 'node:http'
import type net from 'node:net'
import path from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { slirpVersion } from '../host/slirp.ts'
import { describeWhere } from './support/optional.ts'
import { bootDisk, buildDisk, writeRoot } from './support/root-disk.ts'
import { PROMPT, scratch } from './support/vm.ts'

const FILE = randomBytes(2 ** 20)
const SUM = createHash('md5').update(FILE).digest('hex')
const ENVIRONMENT = { ...process.env, PATH: `${process.env['PATH']}:/sbin:/usr/sbin` }
const has = (program: string, argument: string) => spawnSync(program, [argument], { env: ENVIRONMENT }).status === 0

const closers: (() => void)[] = []
afterEach(() => closers.splice(0).forEach((close) => close()))

async function serve(): Promise<number> {
  const server = http.createServer((_, response) => response.end(FILE))
  closers.push(() => server.close())
  return new Promise((done) => server.listen(0, '127.0.0.1', () => done((server.address() as net.AddressInfo).port)))
}

describeWhere(has('mke2fs', '-V'), 'mke2fs (package e2fsprogs)', 'a root file system on a disk', () => {
  describeWhere(typeof slirpVersion() === 'string', 'libslirp (package libslirp0)', 'and a network', () => {
    it.each(['auto', 'on'])('is mounted with acpi=%s, gets a lease and fetches a file without rights', async (acpi) => {
      const folder = scratch(), root = path.join(folder, 'tree')
      writeRoot(root, await serve())
      const image = await buildDisk(folder, root)
      const vm = bootDisk(image, 'root=/dev/vda rw', ['-machine', `microvm,acpi=${acpi}`, '-netdev', 'user,id=n0', '-device', 'virtio-net-device,netdev=n0'])
      expect(await vm.end()).toEqual({ status: 0, signal: null })
      const said = vm.out.all.replaceAll('\r', '')
      expect(said).toMatch(/^root: \/dev\/(root|vda) \/ ext4 rw/m)
      expect(said).toContain(`id: a disk, owner ${process.getuid?.()}, 600\n`)
      expect(said).toContain('lease: 10.0.2.15\n')
      expect(said).toContain(`sum: ${SUM}`)
      expect(spawnSync('e2fsck', ['-fn', image], { env: ENVIRONMENT }).status).toBe(0)
      expect(await buildDisk(folder, root)).toBe(image)
      expect(fs.readFileSync(image).includes('kept\n')).toBe(true)
    })
  })

  it('is found by its label, and one that is not there leaves the shell of the initramfs', async () => {
    const folder = scratch(), root = path.join(folder, 'tree')
    writeRoot(root)
    const image = await buildDisk(folder, root)
    const labelled = bootDisk(image, 'root=LABEL=root ro rootfstype=ext4 init=/sbin/init')
    expect(await labelled.end()).toEqual({ status: 0, signal: null })
    expect(labelled.out.all).toContain('/ ext4 ro')
    const without = bootDisk(image, 'root=/dev/vda init=/not/there')
    await without.out.until('root=/dev/vda: there is no file system of type ext4 with /not/there')
    await without.out.until(PROMPT)
    without.type('exit\n')
    expect(await without.end()).toEqual({ status: 0, signal: null })
  })

  it('that does not fit is one line, and leaves nothing', async () => {
    const folder = scratch(), root = path.join(folder, 'tree')
    writeRoot(root)
    await expect(buildDisk(folder, root, 1)).rejects.toMatchObject({ code: 'GUEST_DISK', message: expect.stringMatching(/more than 1 MiB.*--disk-size/) as string })
    await expect(buildDisk(folder, path.join(folder, 'nowhere'))).rejects.toMatchObject({ code: 'GUEST_DISK' })
    expect(fs.readdirSync(folder)).toEqual(['tree'])
  })
})
