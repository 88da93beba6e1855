/** `mesovirt guest --disk` of an OCI image layout, and sizes of disks that are refused. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { describeWhere } from './support/optional.ts'
import { bootDisk, buildDisk, writeRoot } from './support/root-disk.ts'
import { MESOVIRT, scratch } from './support/vm.ts'

describeWhere(spawnSync('umoci', ['--version']).status === 0, 'umoci (package umoci)', 'the disk of an OCI image', () => {
  const umoci = (...args: string[]) => expect(spawnSync('umoci', args, { encoding: 'utf8' })).toMatchObject({ status: 0 })

  it('has the files that its layers leave', async () => {
    const folder = scratch(), layout = path.join(folder, 'image'), bundle = path.join(folder, 'bundle')
    const rights = process.getuid?.() === 0 ? [] : ['--rootless']
    umoci('init', '--layout', layout)
    umoci('new', '--image', `${layout}:v1`)
    umoci('unpack', ...rights, '--image', `${layout}:v1`, bundle)
    writeRoot(path.join(bundle, 'rootfs'))
    fs.writeFileSync(path.join(bundle, 'rootfs/etc/gone'), 'a file of a lower layer')
    umoci('repack', '--refresh-bundle', '--image', `${layout}:v1`, bundle)
    fs.rmSync(path.join(bundle, 'rootfs/etc/gone'))
    umoci('repack', '--image', `${layout}:v1`, bundle)
    const image = await buildDisk(folder, layout)
    const vm = bootDisk(image, 'root=/dev/vda')
    expect(await vm.end()).toEqual({ status: 0, signal: null })
    expect(vm.out.all).toContain('id: a disk')
    expect(fs.readFileSync(image).includes('a file of a lower layer')).toBe(false)
  })

  it.each([
    ['not JSON', 'is not the index'], ['{"manifests":[]}', 'names no image'], ['[]', 'names no image'], ['{"manifests":[null,{"annotations":{}}]}', 'names no image'],
    ['{"manifests":[{"annotations":{"org.opencontainers.image.ref.name":"a"}},{"annotations":{"org.opencontainers.image.ref.name":"b"}}]}', 'several images (a, b)'],
    ['{"manifests":[{"annotations":{"org.opencontainers.image.ref.name":"a"},"digest":"sha256:00"}]}', 'umoci could not unpack'],
  ])('with the index %s is refused', async (index, reason) => {
    const folder = scratch(), layout = path.join(folder, 'image')
    fs.mkdirSync(layout)
    fs.writeFileSync(path.join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
    fs.writeFileSync(path.join(layout, 'index.json'), index)
    await expect(buildDisk(folder, layout)).rejects.toMatchObject({ code: 'OCI_IMAGE', message: expect.stringContaining(reason) as string })
    expect(fs.readdirSync(folder)).toEqual(['image'])
  })
})

describe('mesovirt guest --disk-size', () => {
  it.each(['0', '-1', '1e3', 'x', '99999999999'])('%s is refused', (size) => {
    const { status, stderr } = spawnSync(process.execPath, [MESOVIRT, 'guest', '--disk', '--disk-size', size], { encoding: 'utf8' })
    expect(status).toBe(1)
    expect(stderr).toContain('--disk-size')
  })
})
