import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'
import { MesovirtError } from '../../host/errors.ts'
import { cachedInitramfs, fetchGuest, fetchInitramfs } from './fetch-guest.ts'
import { createProgress } from './progress.ts'

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-guest-'))
afterAll(() => fs.rmSync(root, { recursive: true }))

/** A folder of commands that stand in for apt-get, apt-cache and dpkg-deb, and leave a trace of every call. */
const bin = path.join(root, 'bin')
const calls = path.join(root, 'calls')
const tool = (name: string, script: string) => fs.writeFileSync(path.join(bin, name), `#!/bin/sh\necho "${name} $*" >>"${calls}"\n${script}\n`, { mode: 0o755 })
const traced = () => fs.existsSync(calls) ? fs.readFileSync(calls, 'utf8').trim().split('\n') : []

const oldPath = process.env['PATH']
beforeEach(() => {
  fs.rmSync(calls, { force: true })
  fs.rmSync(bin, { recursive: true, force: true })
  fs.mkdirSync(bin)
  for (const name of ['sh', 'cat', 'tar', 'mkdir', 'touch', 'rm', 'dirname', 'basename']) {
    const target = (oldPath ?? '').split(':').map((folder) => path.join(folder, name)).find((file) => fs.existsSync(file))
    if (target !== undefined) fs.symlinkSync(target, path.join(bin, name))
  }
  process.env['PATH'] = bin
})
afterEach(() => { process.env['PATH'] = oldPath })

const LAST = 'for last; do :; done'
/** apt that knows one kernel; the "package" is a plain text file. */
function workingApt(knows = 'true'): void {
  tool('apt-cache', `${knows} || exit 0; echo "linux-image"; echo "  Depends: linux-image-6.1.0-1-cloud-amd64"`)
  tool('apt-get', `${LAST}; case "$*" in *update*) touch "${root}/updated";; *) echo "$last" >"$last"_1_amd64.deb;; esac`)
  tool('dpkg-deb', `${LAST}; t="${root}/tree"; rm -rf "$t"; m="$t/lib/modules/6.1/kernel/drivers"; mkdir -p "$t/boot" "$t/bin" "$m/acpi" "$m/input" "$m/virtio"
case $(cat "$last") in
  busybox-static) echo busybox >"$t/bin/busybox"; tar -C "$t" -cf - ./bin;;
  *) echo kernel >"$t/boot/vmlinuz-6.1"; echo b >"$m/acpi/button.ko"; echo e >"$m/input/evdev.ko"; echo v >"$m/virtio/virtio_mmio.ko"; tar -C "$t" -cf - ./boot ./lib;;
esac`)
}

function folder(): string {
  return fs.mkdtempSync(path.join(root, 'cache-'))
}

async function failure(promise: Promise<unknown>): Promise<MesovirtError> {
  const error: unknown = await promise.then(() => null, (reason: unknown) => reason)
  if (error instanceof MesovirtError) return error
  throw error ?? new Error('did not fail')
}

describe('fetching a guest', () => {
  it('downloads kernel and busybox, keeps what the guest needs and nothing else', async () => {
    workingApt()
    const cacheDir = folder()
    const guest = await fetchGuest({ cacheDir, flavour: 'cloud' })
    expect(guest.package).toBe('linux-image-6.1.0-1-cloud-amd64')
    expect(fs.readFileSync(guest.kernel, 'utf8')).toBe('kernel\n')
    expect(fs.readFileSync(guest.busybox, 'utf8')).toBe('busybox\n')
    expect(guest.modules.map((file) => [path.basename(file), fs.readFileSync(file, 'utf8')])).toEqual([
      ['virtio_ring.ko', ''], ['virtio.ko', ''], ['virtio_mmio.ko', 'v\n'], ['virtio_blk.ko', ''], ['virtio-rng.ko', ''], ['button.ko', 'b\n'], ['evdev.ko', 'e\n'],
    ])
    expect(fs.readdirSync(cacheDir).sort()).toEqual(['busybox', 'cloud.package', path.basename(guest.initrd), guest.package].sort())
    expect(traced().some((call) => call.includes('update'))).toBe(false)
  })

  it('asks nobody the second time, unless told to', async () => {
    workingApt()
    const cacheDir = folder()
    const first = await fetchGuest({ cacheDir, flavour: 'cloud' })
    const count = traced().length
    expect(await fetchGuest({ cacheDir, flavour: 'cloud' })).toEqual(first)
    expect(traced()).toHaveLength(count)
    expect(await fetchGuest({ cacheDir, flavour: 'cloud', refresh: true })).toEqual(first)
    expect(traced().length).toBeGreaterThan(count)
  })

  it('builds the initramfs alone for a kernel of the user\'s own', async () => {
    workingApt()
    const cacheDir = folder()
    const initrd = await fetchInitramfs({ cacheDir })
    expect(fs.readdirSync(cacheDir).sort()).toEqual(['busybox', path.basename(initrd)].sort())
    expect(traced().some((call) => call.includes('linux-image'))).toBe(false)
  })

  it('keeps its own package lists when the system has none', async () => {
    fs.rmSync(path.join(root, 'updated'), { force: true })
    workingApt(`[ -e "${root}/updated" ]`)
    const cacheDir = folder()
    await fetchGuest({ cacheDir, flavour: 'cloud' })
    const update = traced().find((call) => call.includes('update'))
    expect(update).toContain(`Dir::State::lists=${path.join(cacheDir, 'apt', 'state', 'lists')}`)
    expect(traced().filter((call) => call.includes('download linux')).every((call) => call.includes('Dir::State'))).toBe(true)
  })

  it('says what to do where there is no apt', async () => {
    const error = await failure(fetchGuest({ cacheDir: folder(), flavour: 'cloud' }))
    expect(error.code).toBe('GUEST_UNAVAILABLE')
    expect(error.message).toMatch(/-kernel PATH.*MESOVIRT_KERNEL=PATH/)
  })

  it('gives the reason when apt fails, and leaves no half-done files', async () => {
    workingApt()
    tool('apt-get', 'case "$*" in *update*) ;; *) echo "E: Temporary failure resolving deb.debian.org" >&2; exit 100;; esac')
    const cacheDir = folder()
    const error = await failure(fetchGuest({ cacheDir, flavour: 'cloud' }))
    expect(error.code).toBe('GUEST_DOWNLOAD')
    expect(error.message).toContain('Temporary failure resolving')
    expect(fs.readdirSync(cacheDir)).toEqual(['apt'])
  })

  it('notices a package without a kernel', async () => {
    workingApt()
    tool('dpkg-deb', `${LAST}; t="${root}/tree"; rm -rf "$t"; mkdir -p "$t/bin"; echo busybox >"$t/bin/busybox"; tar -C "$t" -cf - ./bin`)
    expect((await failure(fetchGuest({ cacheDir: folder(), flavour: 'cloud' }))).code).toBe('DEB_DAMAGED')
  })

  it('notices a folder it cannot write', async () => {
    const file = path.join(root, 'file')
    fs.writeFileSync(file, '')
    expect((await failure(fetchGuest({ cacheDir: path.join(file, 'x'), flavour: 'cloud' }))).code).toBe('GUEST_FOLDER')
  })
})

describe('a cached initramfs', () => {
  it('is found by its content', () => {
    const cacheDir = folder()
    const busybox = new TextEncoder().encode('busybox')
    const plain = cachedInitramfs(cacheDir, { busybox })
    expect(cachedInitramfs(cacheDir, { busybox })).toBe(plain)
    expect(cachedInitramfs(cacheDir, { busybox, extraFiles: { 'run-at-boot': { content: 'true', mode: 0o755 } } })).not.toBe(plain)
    expect(cachedInitramfs(cacheDir, { busybox, init: 'x' })).not.toBe(plain)
    expect(fs.readdirSync(cacheDir)).toHaveLength(3)
  })
})

describe('progress', () => {
  const steps = (isTTY: boolean) => {
    let text = ''
    const progress = createProgress({ isTTY, columns: 20, write: (part) => { text += part } })
    progress.step('downloading something long')
    progress.detail('5 MB')
    progress.done()
    return text
  }

  it('is a line per step in a file', () => {
    expect(steps(false)).toBe('downloading something long ...\n')
  })

  it('is one line that is rewritten and removed on a terminal, never wider than it', () => {
    expect(steps(true)).toMatch(/^(\r\x1b\[K[^\r\n]{0,19})+\r\x1b\[K$/)
  })
})
