import { spawnSync } from 'node:child_process'
import { expect, it } from 'vitest'
import { canLoad, describeWhere } from '../test/support/optional.ts'
import { shareMallocArenas } from './malloc-arenas.ts'

const isGlibc = spawnSync('getconf', ['GNU_LIBC_VERSION']).status === 0

describeWhere(canLoad('koffi') && isGlibc, 'koffi, and glibc', 'heaps of the C library', () => {
  it('are shared by threads that begin later', () => {
    expect(shareMallocArenas()).toBe(true)
  })
})
