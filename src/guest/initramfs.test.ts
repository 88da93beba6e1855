import { spawnSync } from 'node:child_process'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { DEFAULT_INIT, GREETING, buildInitramfs } from './initramfs.ts'

const busybox = new TextEncoder().encode('not really busybox')
const archive = (options: Omit<Parameters<typeof buildInitramfs>[0], 'busybox'> = {}) => gunzipSync(buildInitramfs({ busybox, ...options })).toString('latin1')

/** Names in archive order. */
const names = (cpio: string) => [...cpio.matchAll(/070701[0-9A-Fa-f]{104}([^\0]+)\0/g)].map((match) => match[1] as string)

describe('the initramfs', () => {
  it('holds busybox, init and a console, every folder before its content', () => {
    const listed = names(archive())
    for (const name of ['init', 'bin/busybox', 'bin/sh', 'dev/console', 'dev/null', 'proc', 'sys', 'etc/profile']) expect(listed).toContain(name)
    listed.forEach((name, index) => {
      if (name.includes('/')) expect(listed.indexOf(name.slice(0, name.lastIndexOf('/')))).toBeLessThan(index)
      expect(listed.indexOf(name)).toBe(index)
    })
  })

  it('is the same for the same input', () => {
    expect(Buffer.from(buildInitramfs({ busybox })).equals(buildInitramfs({ busybox }))).toBe(true)
  })

  it('takes another init, modules in their order, and more files, which replace ours', () => {
    const cpio = archive({
      init: '#!/bin/sh\necho mine\n', modules: [{ name: 'b.ko', content: busybox }, { name: 'a.ko', content: busybox }],
      extraFiles: { 'opt/deep/file': { content: 'extra' }, 'etc/profile': { content: 'replaced' } },
    })
    expect(cpio).toContain('echo mine')
    expect(cpio).not.toContain(GREETING)
    expect(names(cpio)).toEqual(expect.arrayContaining(['lib/modules/00-b.ko', 'lib/modules/01-a.ko', 'opt', 'opt/deep', 'opt/deep/file']))
    expect(cpio).toContain('replaced')
    expect(names(cpio).filter((name) => name === 'etc/profile')).toHaveLength(1)
  })

  it('has an init that a shell can parse', () => {
    expect(spawnSync('sh', ['-n'], { input: DEFAULT_INIT, encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' })
  })
})
