import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { findData, readTar } from './deb.ts'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-deb-'))
afterAll(() => fs.rmSync(folder, { recursive: true }))

function tarEntry(name: string, content: string, type = '0', prefix = ''): Buffer {
  const header = Buffer.alloc(512)
  header.write(name.slice(0, 100), 0)
  header.write(content.length.toString(8).padStart(11, '0'), 124)
  header.write(type, 156)
  header.write('ustar\0' + '00', 257)
  header.write(prefix, 345)
  const body = Buffer.alloc(Math.ceil(content.length / 512) * 512)
  body.write(content)
  return Buffer.concat([header, body])
}

/** The stream in pieces of `size` bytes, as a pipe may deliver it. */
async function* pieces(tar: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < tar.length; at += size) yield tar.subarray(at, at + size)
}

const longName = `./boot/${'k'.repeat(120)}`
const tar = Buffer.concat([
  tarEntry('./boot/', '', '5'), tarEntry('./boot/config', 'x'.repeat(700)), tarEntry('./boot/vmlinuz', 'kernel'),
  tarEntry('././@LongLink', `${longName}\0`, 'L'), tarEntry(longName, 'long'), tarEntry('file', 'prefixed', '0', './usr/lib'), Buffer.alloc(1024),
])

function arMember(name: string, content: string): string {
  return `${name.padEnd(16)}${'0'.padEnd(12)}${'0'.padEnd(6)}${'0'.padEnd(6)}${'100644'.padEnd(8)}${String(content.length).padEnd(10)}\`\n${content}${content.length % 2 === 1 ? '\n' : ''}`
}

function file(content: string): string {
  const name = path.join(folder, `${Math.random()}.deb`)
  fs.writeFileSync(name, content, 'latin1')
  return name
}

describe('the tar in a package', () => {
  it.each([7, 512, 10_000])('gives the wanted files, long and prefixed names too, from pieces of %i bytes', async (size) => {
    const found = await readTar(pieces(tar, size), 'x.deb', (name) => !name.endsWith('config'), () => false)
    expect(found.map(({ path: name, content }) => [name, content.toString()])).toEqual([
      ['boot/vmlinuz', 'kernel'], [longName.slice(2), 'long'], ['usr/lib/file', 'prefixed'],
    ])
  })

  it('is read no further than needed', async () => {
    const found = await readTar(pieces(tar.subarray(0, 512 * 6), 512), 'x.deb', (name) => name === 'boot/vmlinuz', (files) => files.length === 1)
    expect(found).toHaveLength(1)
  })

  it('that is cut off or broken is an error', async () => {
    await expect(readTar(pieces(tar.subarray(0, 900), 512), 'x.deb', () => true, () => false)).rejects.toThrow(/x\.deb.*cut off/)
    await expect(readTar(pieces(Buffer.alloc(0), 512), 'x.deb', () => true, () => false)).rejects.toThrow(/cut off/)
    const bad = Buffer.from(tar)
    bad.write('zzzz', 124)
    await expect(readTar(pieces(bad, 512), 'x.deb', () => true, () => false)).rejects.toThrow(/no valid size/)
  })
})

describe('the ar of a package', () => {
  it('says where the data lies and which tool unpacks it', () => {
    const deb = file(`!<arch>\n${arMember('debian-binary', '2.0\n')}${arMember('control.tar.xz', 'odd')}${arMember('data.tar.zst', 'payload')}`)
    const { tool, offset, size } = findData(deb)
    expect(tool).toBe('zstd')
    expect(fs.readFileSync(deb).toString('latin1', offset, offset + size)).toBe('payload')
  })

  it.each([
    ['no package', 'hello'], ['no data', `!<arch>\n${arMember('debian-binary', '2.0\n')}`], ['an unknown compression', `!<arch>\n${arMember('data.tar.foo', 'x')}`],
    ['a member past its end', `!<arch>\n${arMember('data.tar.xz', 'x').replace('1         `', '99        `')}`],
  ])('with %s is an error', (_what, content) => {
    expect(() => findData(file(content))).toThrow(/damaged/)
  })
})
