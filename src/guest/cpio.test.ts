import { describe, expect, it } from 'vitest'
import { MesovirtError } from '../../host/errors.ts'
import { writeCpio } from './cpio.ts'

interface Read { path: string; mode: number; links: number; content: string; rdev: readonly [number, number] }

/** Reads an archive the way the kernel's initramfs code does. */
function readCpio(archive: Uint8Array): Read[] {
  const text = (from: number, to: number) => new TextDecoder().decode(archive.subarray(from, to))
  const entries: Read[] = []
  for (let at = 0; ;) {
    expect(text(at, at + 6)).toBe('070701')
    const field = (index: number) => parseInt(text(at + 6 + index * 8, at + 14 + index * 8), 16)
    const nameEnd = at + 110 + field(11)
    const path = text(at + 110, nameEnd - 1)
    expect(archive[nameEnd - 1]).toBe(0)
    const start = Math.ceil(nameEnd / 4) * 4
    if (path === 'TRAILER!!!') return entries
    entries.push({ path, mode: field(1), links: field(4), content: text(start, start + field(6)), rdev: [field(9), field(10)] })
    at = Math.ceil((start + field(6)) / 4) * 4
  }
}

describe('a newc archive', () => {
  it('holds folders, files, links and device nodes as the kernel reads them', () => {
    const archive = writeCpio([
      { path: 'dev', type: 'directory' },
      { path: 'dev/console', type: 'character', major: 5, minor: 1 },
      { path: 'dev/vda', type: 'block', major: 254, minor: 0 },
      { path: 'init', type: 'file', content: '#!/bin/sh\n', mode: 0o755 },
      { path: 'empty', type: 'file', content: '' },
      { path: 'sh', type: 'symlink', target: 'bin/busybox' },
    ])
    expect(readCpio(archive)).toEqual([
      { path: 'dev', mode: 0o40755, links: 2, content: '', rdev: [0, 0] },
      { path: 'dev/console', mode: 0o20600, links: 1, content: '', rdev: [5, 1] },
      { path: 'dev/vda', mode: 0o60600, links: 1, content: '', rdev: [254, 0] },
      { path: 'init', mode: 0o100755, links: 1, content: '#!/bin/sh\n', rdev: [0, 0] },
      { path: 'empty', mode: 0o100644, links: 1, content: '', rdev: [0, 0] },
      { path: 'sh', mode: 0o120777, links: 1, content: 'bin/busybox', rdev: [0, 0] },
    ])
    expect(archive.length % 512).toBe(0)
  })

  it('pads names and contents of every length to four bytes', () => {
    const entries = [1, 2, 3, 4, 5].flatMap((length) => [0, 1, 2, 3].map((size) =>
      ({ path: `${'n'.repeat(length)}${size}`, type: 'file' as const, content: 'x'.repeat(size) })))
    expect(readCpio(writeCpio(entries)).map(({ path, content }) => ({ path, content }))).toEqual(entries.map(({ path, content }) => ({ path, content })))
  })

  it('is the same for the same entries', () => {
    const entries = [{ path: 'a', type: 'file' as const, content: 'b' }]
    expect(writeCpio(entries)).toEqual(writeCpio(entries))
  })

  it.each(['/etc/passwd', '../up', 'a/../b', './a', 'a//b', '', 'a/'])('refuses the path %o', (path) => {
    expect(() => writeCpio([{ path, type: 'directory' }])).toThrow(MesovirtError)
  })

  it('refuses a path named twice', () => {
    expect(() => writeCpio([{ path: 'a', type: 'directory' }, { path: 'a', type: 'directory' }])).toThrow(/once/)
  })
})
