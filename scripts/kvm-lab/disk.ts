/** Disk images of the lab: ext4 (mke2fs -d, no mount and no root needed) made of files of this machine, kept as long as those do not change. */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { MesovirtError } from '../../host/errors.ts'
import type { Progress } from '../../src/guest/progress.ts'

export interface DiskContent {
  /** path on the disk: file on this machine. Symbolic links are followed. */
  readonly files: ReadonlyMap<string, string>
  /** path on the disk: text */
  readonly texts: ReadonlyMap<string, string>
  /** path on the disk: where the link leads */
  readonly links: ReadonlyMap<string, string>
  readonly folders: readonly string[]
}

const BLOCK = 4096
/** No journal: the image is built anew when in doubt, and what a run writes is thrown away. */
const MKE2FS = ['-q', '-F', '-t', 'ext4', '-b', String(BLOCK), '-m', '0', '-N', '65536', '-O', '^has_journal,^metadata_csum', '-E', 'root_owner=0:0,lazy_itable_init=1']
/** Room for what tests write, beside file system structures. */
const SPARE = 256 * 1024 * 1024

/**
 * Builds the image, or finds the one that was built from the same content. Other images of that name are removed.
 * @returns path of the image, `NAME-HASH.img` in `cache`
 */
export function buildDisk(cache: string, name: string, content: DiskContent, log: Progress): string {
  const image = path.join(cache, `${name}-${fingerprint(content)}.img`)
  if (fs.existsSync(image)) return image
  log.step(`building the ${name} disk of the lab`)
  for (const old of fs.readdirSync(cache)) if (old.startsWith(`${name}-`) && old.endsWith('.img')) fs.rmSync(path.join(cache, old))
  const staging = fs.mkdtempSync(path.join(cache, `${name}-staging-`))
  const part = `${staging}.part`
  try {
    const size = stage(staging, content)
    const megabytes = Math.ceil((size + SPARE) / (1024 * 1024))
    const { status, stderr, error } = spawnSync(mke2fs(), [...MKE2FS, '-d', staging, part, `${megabytes}M`], { encoding: 'utf8', env: { ...process.env, LC_ALL: 'C' } })
    if (status !== 0) throw new MesovirtError('LAB_DISK', `the ${name} disk of the lab cannot be made: ${error?.message ?? stderr.trim()}; mke2fs of e2fsprogs and ${megabytes} MiB are needed`)
    fs.renameSync(part, image)
    return image
  } finally {
    fs.rmSync(staging, { recursive: true, force: true })
    fs.rmSync(part, { force: true })
  }
}

/** Size and time of a file stand for what is in it. */
function fingerprint({ files, texts, links, folders }: DiskContent): string {
  const hash = createHash('sha256').update(MKE2FS.join(' '))
  for (const [target, source] of files) {
    const { size, mtimeMs, mode } = fs.statSync(source)
    hash.update(`${target}\0${source}\0${size}\0${mtimeMs}\0${mode}\0`)
  }
  for (const [target, text] of [...texts, ...links]) hash.update(`${target}\0${text}\0`)
  return hash.update(folders.join('\0')).digest('hex').slice(0, 16)
}

/** @returns bytes that the files take on the disk */
function stage(staging: string, { files, texts, links, folders }: DiskContent): number {
  let size = 0
  const made = new Set<string>()
  const place = (target: string): string => {
    const file = path.join(staging, target)
    const folder = path.dirname(file)
    if (!made.has(folder)) fs.mkdirSync(folder, { recursive: true })
    made.add(folder)
    return file
  }
  for (const folder of folders) fs.mkdirSync(path.join(staging, folder), { recursive: true })
  for (const [target, source] of files) {
    const file = place(target)
    const real = fs.realpathSync(source)
    try {
      fs.linkSync(real, file)
    } catch {
      fs.copyFileSync(real, file) // another file system, or a foreign file that may not be linked
    }
    size += Math.ceil(fs.statSync(real).size / BLOCK) * BLOCK
  }
  for (const [target, text] of texts) {
    fs.writeFileSync(place(target), text)
    size += BLOCK
  }
  for (const [target, link] of links) fs.symlinkSync(link, place(target))
  return size
}

function mke2fs(): string {
  // Users other than root often have no /sbin in their path.
  return ['/usr/sbin/mke2fs', '/sbin/mke2fs'].find((file) => fs.existsSync(file)) ?? 'mke2fs'
}
