/**
 * Gets a Linux guest ready to boot: Debian's signed kernel and static busybox, and our initramfs around it. Everything lands in one folder
 * and is kept: the second call does no more than look. Files appear under their names only when complete, so parallel calls do no harm.
 */
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { MesovirtError } from '../../host/errors.ts'
import { Apt } from './apt.ts'
import { readDeb } from './deb.ts'
import { fetchModules, moduleName, unpackModule } from './modules.ts'
import { extractVmlinux } from '../../boot-loader/extract-vmlinux.ts'
import { buildInitramfs } from './initramfs.ts'
import type { InitramfsOptions } from './initramfs.ts'
import type { Progress } from './progress.ts'
import { silentProgress } from './progress.ts'

export const FLAVOURS = ['cloud', 'generic'] as const
export type Flavour = (typeof FLAVOURS)[number]

const METAPACKAGES: Readonly<Record<Flavour, { readonly name: string; readonly dependency: RegExp }>> = {
  cloud: { name: 'linux-image-cloud-amd64', dependency: /^linux-image-\d.*-cloud-amd64(-unsigned)?$/ },
  generic: { name: 'linux-image-amd64', dependency: /^linux-image-\d.*-amd64(-unsigned)?$/ },
}
/** Modules of Debian's kernels, each after those it needs: virtio devices, the power button's driver and the device acpid reads it from. */
const MODULES = ['virtio_ring.ko', 'virtio.ko', 'virtio_mmio.ko', 'virtio_blk.ko', 'virtio-rng.ko', 'button.ko', 'evdev.ko']
const BUSYBOX_PACKAGE = 'busybox-static'

export interface FetchGuestOptions {
  /** Folder for downloads and results, made if missing. */
  readonly cacheDir: string
  readonly flavour: Flavour
  /** More kernel modules for the initramfs, by name; what they need comes with them. */
  readonly modules?: readonly string[] | undefined
  /** Also take the uncompressed ELF out of the kernel. */
  readonly vmlinux?: boolean | undefined
  /** Ask apt again even when the guest is there. */
  readonly refresh?: boolean | undefined
  readonly log?: Progress | undefined
}

export interface Guest {
  /** Name of the kernel's package. */
  readonly package: string
  /** bzImage */
  readonly kernel: string
  /** ELF, when asked for */
  readonly vmlinux?: string
  readonly initrd: string
  /** static busybox, for initramfs images of one's own */
  readonly busybox: string
  /** modules that go with the kernel, in the order to load them */
  readonly modules: readonly string[]
}

/** @throws MesovirtError GUEST_UNAVAILABLE, GUEST_DOWNLOAD, GUEST_MODULE, DEB_DAMAGED, TOOL_MISSING, VMLINUX_*, GUEST_FOLDER */
export async function fetchGuest({ cacheDir, flavour, modules = [], vmlinux = false, refresh = false, log = silentProgress }: FetchGuestOptions): Promise<Guest> {
  const folder = makeFolder(cacheDir)
  const apt = new Apt(folder, log)
  const busybox = await fetchBusybox(apt, folder, refresh, log)
  const kernel = await fetchKernel(apt, folder, flavour, refresh, log)
  const more = modules.length === 0 ? [] : await fetchModules(apt, kernel.package, path.dirname(kernel.kernel), modules, log)
  const ours = new Set(kernel.modules.map(moduleName))
  const initrd = cachedInitramfs(folder, {
    busybox: fs.readFileSync(busybox),
    modules: [...kernel.modules, ...more.filter((file) => !ours.has(moduleName(file)))].map((file) => ({ name: path.basename(file), content: fs.readFileSync(file) })).filter(({ content }) => content.length > 0),
  }, log)
  const elf = vmlinux ? { vmlinux: cachedVmlinux(kernel.kernel, log) } : {}
  log.done()
  return { ...kernel, initrd, busybox, ...elf }
}

/**
 * The initramfs alone, without modules, for a kernel of the user's own.
 * @throws MesovirtError as fetchGuest
 */
export async function fetchInitramfs({ cacheDir, refresh = false, log = silentProgress }: Pick<FetchGuestOptions, 'cacheDir' | 'refresh' | 'log'>): Promise<string> {
  const folder = makeFolder(cacheDir)
  const busybox = await fetchBusybox(new Apt(folder, log), folder, refresh, log)
  const initrd = cachedInitramfs(folder, { busybox: fs.readFileSync(busybox) }, log)
  log.done()
  return initrd
}

function makeFolder(cacheDir: string): string {
  const folder = path.resolve(cacheDir)
  try {
    fs.mkdirSync(folder, { recursive: true })
    fs.accessSync(folder, fs.constants.W_OK)
  } catch (error) {
    throw new MesovirtError('GUEST_FOLDER', `the guest folder '${folder}' cannot be written (${(error as Error).message}); name another with --output`, { cause: error })
  }
  return folder
}

/** Builds an initramfs, or finds the one that was built from the same content. @returns its path */
export function cachedInitramfs(folder: string, options: InitramfsOptions, log: Progress = silentProgress): string {
  const hash = createHash('sha256').update(fileOfThisBuild)
  const add = (label: string, content: Uint8Array | string) => hash.update(`${label}\0${content.length}\0`).update(content)
  add('busybox', options.busybox)
  add('init', options.init ?? '')
  for (const { name, content } of options.modules ?? []) add(name, content)
  for (const [name, { content, mode }] of Object.entries(options.extraFiles ?? {})) add(`${name}\0${mode ?? ''}`, content)
  const file = path.join(folder, `initramfs-${hash.digest('hex').slice(0, 16)}.cpio.gz`)
  if (fs.existsSync(file)) return file
  log.step('building the initramfs')
  writeWhole(file, buildInitramfs(options))
  return file
}

/** The initramfs of an empty busybox stands for init and layout in the hash: a new version of this code builds new files. */
const fileOfThisBuild = buildInitramfs({ busybox: new Uint8Array(0) })

function cachedVmlinux(kernel: string, log: Progress): string {
  const file = path.join(path.dirname(kernel), 'vmlinux')
  if (fs.existsSync(file)) return file
  log.step('unpacking the kernel')
  writeWhole(file, extractVmlinux(fs.readFileSync(kernel)))
  return file
}

async function fetchBusybox(apt: Apt, folder: string, refresh: boolean, log: Progress): Promise<string> {
  const file = path.join(folder, 'busybox')
  if (fs.existsSync(file) && !refresh) return file
  const deb = await apt.download(BUSYBOX_PACKAGE)
  log.step(`unpacking ${BUSYBOX_PACKAGE}`)
  const [busybox] = await readDeb(deb, (name) => /^(usr\/)?bin\/busybox$/.test(name), (found) => found.length === 1)
  if (busybox === undefined) throw new MesovirtError('DEB_DAMAGED', `'${deb}' holds no busybox; remove it and try again`)
  writeWhole(file, busybox.content, 0o755)
  fs.rmSync(deb)
  return file
}

/** One folder per kernel package, and per flavour a file that names the one in use. */
async function fetchKernel(apt: Apt, folder: string, flavour: Flavour, refresh: boolean, log: Progress): Promise<{ package: string; kernel: string; modules: string[] }> {
  const choice = path.join(folder, `${flavour}.package`)
  const describe = (name: string) => {
    const home = path.join(folder, name)
    return { package: name, kernel: path.join(home, 'vmlinuz'), modules: MODULES.map((module) => path.join(home, module)) }
  }
  if (fs.existsSync(choice) && !refresh) {
    const kernel = describe(fs.readFileSync(choice, 'utf8').trim())
    if (fs.existsSync(kernel.kernel) && kernel.modules.every((file) => fs.existsSync(file))) return kernel
  }
  const { name: metapackage, dependency } = METAPACKAGES[flavour]
  log.step(`looking for ${metapackage}`)
  const name = await apt.resolve(metapackage, dependency)
  const kernel = describe(name)
  const home = path.dirname(kernel.kernel)
  fs.mkdirSync(home, { recursive: true })
  const deb = await apt.download(name)
  log.step(`unpacking ${name}`)
  const isWanted = (file: string) => /^boot\/vmlinuz-[^/]+$/.test(file) || MODULES.some((module) => isModule(file, module))
  const found = await readDeb(deb, isWanted, (files) => files.length === MODULES.length + 1)
  const image = found.find(({ path: file }) => file.startsWith('boot/vmlinuz-'))
  if (image === undefined) throw new MesovirtError('DEB_DAMAGED', `'${deb}' holds no kernel; remove it and try again`)
  MODULES.forEach((module, index) => {
    const file = found.find(({ path: candidate }) => isModule(candidate, module))
    // A kernel that has the driver built in has no such module: an empty file stands for it, which the initramfs leaves out.
    writeWhole(kernel.modules[index] as string, file === undefined ? new Uint8Array(0) : unpackModule(file))
  })
  fs.rmSync(path.join(home, 'vmlinux'), { force: true })
  writeWhole(kernel.kernel, image.content)
  writeWhole(choice, new TextEncoder().encode(`${name}\n`))
  fs.rmSync(deb)
  return kernel
}

function isModule(file: string, module: string): boolean {
  return /^(usr\/)?lib\/modules\//.test(file) && file.includes('/kernel/drivers/') && (file.endsWith(`/${module}`) || file.endsWith(`/${module}.xz`))
}

function writeWhole(file: string, content: Uint8Array, mode = 0o644): void {
  const part = `${file}.${process.pid}.part`
  fs.writeFileSync(part, content, { mode })
  fs.renameSync(part, file)
}
