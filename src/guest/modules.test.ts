import { describe, expect, it } from 'vitest'
import { moduleName, needs } from './modules.ts'

const info = (...fields: string[]) => Buffer.from(`\x7fELF...\0license=GPL\0${fields.map((field) => `${field}\0`).join('')}vermagic=6.1\0\0`, 'latin1')

describe('a kernel module', () => {
  it('says what it needs', () => {
    expect(needs(info('depends=jbd2,mbcache,crc16'))).toEqual({ modules: ['jbd2', 'mbcache', 'crc16'], wishes: [] })
    expect(needs(info('depends='))).toEqual({ modules: [], wishes: [] })
    expect(needs(info())).toEqual({ modules: [], wishes: [] })
    expect(needs(info('softdep=pre: crypto-crc32c other-one post: late', 'depends=a-b'))).toEqual({ modules: ['a_b'], wishes: ['crc32c_generic', 'other_one'] })
  })

  it.each([['virtio-rng.ko', 'virtio_rng'], ['lib/modules/6.1/kernel/fs/ext4/ext4.ko.xz', 'ext4'], ['virtio_blk', 'virtio_blk'], ['modules.builtin', 'modules.builtin']])('%s is called %s', (file, name) => {
    expect(moduleName(file)).toBe(name)
  })
})
