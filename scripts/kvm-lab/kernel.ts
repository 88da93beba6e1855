/** The kernel the lab itself runs: Debian's generic one with the modules for KVM, for the lab's disks and for what guests are tested with. Fetched once. */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { MesovirtError } from '../../host/errors.ts'
import { Apt } from '../../src/guest/apt.ts'
import { readDeb } from '../../src/guest/deb.ts'
import type { Progress } from '../../src/guest/progress.ts'
import { dependencies, loadOrder, moduleName } from './modules.ts'

/** Loaded in this order as far as dependencies leave a choice. crc32c is what ext4 asks the kernel for by that name only. */
const WANTED = ['virtio_pci', 'virtio_blk', 'crc32c_generic', 'ext4', 'kvm_amd', 'tun', 'vhost_net', 'vhost_vsock', 'vhost_vdpa']
/** What those need in Debian 12, so that one pass through the package finds all; another kernel's needs cost another pass. */
const KNOWN_NEEDS = [
  'virtio', 'virtio_ring', 'virtio_pci_modern_dev', 'virtio_pci_legacy_dev', 'crc16', 'mbcache', 'jbd2', 'kvm', 'irqbypass', 'ccp', 'rng_core',
  'vhost', 'vhost_iotlb', 'tap', 'vsock', 'vmw_vsock_virtio_transport_common', 'vdpa',
]
const MAX_PASSES = 6

export interface LabKernel {
  readonly image: string
  /** in the order to load them */
  readonly modules: readonly string[]
}

/**
 * @param cache folder of the lab
 * @throws MesovirtError as Apt and readDeb
 */
export async function fetchLabKernel(cache: string, log: Progress): Promise<LabKernel> {
  const wanted = createHash('sha256').update([...WANTED, ...KNOWN_NEEDS].join()).digest('hex').slice(0, 8)
  const home = path.join(cache, `kernel-${wanted}`)
  const list = path.join(home, 'modules')
  if (!fs.existsSync(list)) await unpackKernel(cache, home, log)
  const modules = fs.readFileSync(list, 'utf8').split('\n').filter((name) => name !== '')
  return { image: path.join(home, 'vmlinuz'), modules: modules.map((name) => path.join(home, `${name}.ko`)) }
}

async function unpackKernel(cache: string, home: string, log: Progress): Promise<void> {
  const apt = new Apt(cache, log)
  log.step('looking for the kernel of the lab')
  const deb = await apt.download(await apt.resolve('linux-image-amd64', /^linux-image-\d.*-amd64(-unsigned)?$/))
  log.step('unpacking the kernel of the lab')
  const { image, modules } = await readKernel(deb)
  const needs = new Map([...modules].map(([name, content]) => [name, dependencies(content)]))
  const part = `${home}.${process.pid}.part`
  fs.mkdirSync(part, { recursive: true })
  fs.writeFileSync(path.join(part, 'vmlinuz'), image)
  const order = loadOrder(WANTED, needs)
  for (const name of order) fs.writeFileSync(path.join(part, `${name}.ko`), modules.get(name) as Uint8Array)
  fs.writeFileSync(path.join(part, 'modules'), order.map((name) => `${name}\n`).join(''))
  fs.rmSync(home, { recursive: true, force: true })
  fs.renameSync(part, home)
  fs.rmSync(deb)
}

async function readKernel(deb: string): Promise<{ image: Uint8Array; modules: Map<string, Uint8Array> }> {
  const modules = new Map<string, Uint8Array>()
  let image: Uint8Array | undefined
  let missing = new Set([...WANTED, ...KNOWN_NEEDS])
  for (let pass = 0; missing.size > 0 && pass < MAX_PASSES; pass++) {
    const isModule = (file: string) => /^(usr\/)?lib\/modules\/.*\.ko(\.xz)?$/.test(file) && missing.has(moduleName(file))
    const isImage = (file: string) => image === undefined && /^boot\/vmlinuz-[^/]+$/.test(file)
    const target = missing.size + (image === undefined ? 1 : 0)
    for (const file of await readDeb(deb, (name) => isModule(name) || isImage(name), (found) => found.length === target)) {
      if (isImage(file.path)) image = file.content
      else modules.set(moduleName(file.path), unpackModule(file.path, file.content))
    }
    const needed = [...modules.values()].flatMap(dependencies).filter((name) => !modules.has(name))
    // What this pass did not find is built in.
    missing = new Set(needed.filter((name) => !missing.has(name)))
  }
  if (image === undefined || !modules.has('kvm_amd')) throw new MesovirtError('DEB_DAMAGED', `'${deb}' holds no kernel with KVM; remove it and try again`)
  return { image, modules }
}

function unpackModule(name: string, content: Uint8Array): Uint8Array {
  if (!name.endsWith('.xz')) return content
  const { status, stdout, error } = spawnSync('xz', ['-dc'], { input: content, maxBuffer: 64 * 1024 * 1024, stdio: ['pipe', 'pipe', 'ignore'] })
  if (status !== 0) throw new MesovirtError('TOOL_MISSING', `module ${name} cannot be unpacked (${error?.message ?? `xz ended with status ${status}`}); install xz-utils`)
  return stdout
}
