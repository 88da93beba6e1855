/**
 * An ext4 disk image with a root file system: Debian's, made by debootstrap, or that of a folder or an OCI image of the user's. Left out: partitions and
 * boot loaders, since the kernel comes from outside.
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { MesovirtError } from '../../host/errors.ts'
import { bootstrapDebian } from './debian-root.ts'
import { isOciLayout, unpackOciImage } from './oci-image.ts'
import type { Progress } from './progress.ts'
import { runTool } from './tool.ts'

export interface RootDiskOptions {
  /** existing folder for the image */
  readonly folder: string
  /** folder with a root file system or an OCI image layout; undefined: Debian */
  readonly from?: string | undefined
  readonly sizeMib: number
  /** Make it anew even when it is there: what machines wrote to it is lost. */
  readonly refresh: boolean
  readonly log: Progress
}

export const DEFAULT_DISK_MIB = 2048
export const MOST_DISK_MIB = 16 * 1024 * 1024

/**
 * @returns the image, which stays as machines leave it
 * @throws MesovirtError GUEST_DISK, TOOL_MISSING, OCI_IMAGE
 */
export async function buildRootDisk({ folder, from, sizeMib, refresh, log }: RootDiskOptions): Promise<string> {
  const source = from === undefined ? undefined : existingFolder(from)
  const image = path.join(folder, `${source === undefined ? 'debian' : path.basename(source)}.img`)
  if (fs.existsSync(image) && !refresh) return image
  const scratch = fs.mkdtempSync(path.join(folder, 'root-'))
  try {
    let root = source
    if (source === undefined) {
      root = path.join(scratch, 'root')
      await bootstrapDebian(root, log)
    } else if (isOciLayout(source)) {
      root = path.join(scratch, 'root')
      log.step('unpacking the layers of the image')
      await unpackOciImage(source, root)
    }
    log.step('making the disk')
    await makeExt4(path.join(scratch, 'disk'), root as string, sizeMib)
    fs.renameSync(path.join(scratch, 'disk'), image)
    return image
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true })
  }
}

function existingFolder(name: string): string {
  const folder = path.resolve(name)
  if (fs.statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) throw new MesovirtError('GUEST_DISK', `--disk: there is no folder '${name}' to take the disk's files from`)
  return folder
}

/** @param root what the file system holds, with the owners that the files have here */
async function makeExt4(file: string, root: string, sizeMib: number): Promise<void> {
  fs.writeFileSync(file, '')
  fs.truncateSync(file, sizeMib * 2 ** 20)
  const features = 'root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1'
  const { status, stderr } = await runTool('mke2fs', 'e2fsprogs', ['-q', '-F', '-t', 'ext4', '-L', 'root', '-m', '1', '-E', features, '-d', root, file])
  if (status === 0) return
  const isFull = /could not allocate|no space|No space/i.test(stderr)
  throw new MesovirtError('GUEST_DISK', isFull
    ? `the files of the disk need more than ${sizeMib} MiB; give it more with --disk-size`
    : `mke2fs could not make the disk: ${stderr.trim().split(os.EOL).at(-1) ?? ''}`)
}
