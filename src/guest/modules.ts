/**
 * Kernel modules of Debian's packages by name, with those they need: what depmod and modprobe work out, from the modules themselves (Linux, Documentation/kbuild/modules.rst;
 * modules.builtin, modprobe.d(5) "softdep"). Left out: aliases, parameters.
 */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { MesovirtError } from '../../host/errors.ts'
import type { Apt } from './apt.ts'
import { readDeb } from './deb.ts'
import type { DebFile } from './deb.ts'
import type { Progress } from './progress.ts'

/** Chains of modules are far shorter. */
const MOST_ROUNDS = 12
const BUILT_IN = 'modules.builtin'

/** `virtio-rng.ko.xz` and `virtio_rng` are one module. */
export function moduleName(file: string): string {
  return path.basename(file).replace(/\.ko(\.xz)?$/, '').replaceAll('-', '_')
}

/** Newer Debian kernels ship their modules xz-compressed. Without xz on the host there is no such module. */
export function unpackModule({ path: name, content }: DebFile): Uint8Array {
  if (!name.endsWith('.xz')) return content
  const result = spawnSync('xz', ['-dc'], { input: content, maxBuffer: 64 * 1024 * 1024, stdio: ['pipe', 'pipe', 'ignore'] })
  return result.status === 0 ? result.stdout : new Uint8Array(0)
}

/** What a module says it needs: modules, and what it can do with better. A wish such as crypto-crc32c is for the plain form of an algorithm, crc32c_generic. */
export function needs(module: Uint8Array): { readonly modules: string[]; readonly wishes: string[] } {
  const content = Buffer.from(module.buffer, module.byteOffset, module.byteLength)
  const value = (key: string) => {
    const at = content.indexOf(`\0${key}=`)
    return at < 0 ? '' : content.toString('latin1', at + key.length + 2, content.indexOf(0, at + 1)).trim()
  }
  const wishes = /^pre: (.*?)(?: post:|$)/.exec(value('softdep'))?.[1]?.split(/\s+/) ?? []
  return {
    modules: value('depends').split(',').filter((name) => name !== '').map(moduleName),
    wishes: wishes.filter((name) => name !== '').map((name) => moduleName(name.startsWith('crypto-') ? `${name.slice(7)}_generic` : name)),
  }
}

/**
 * The files of modules and of all they need, each after what it needs; without those that are part of the kernel. They are kept beside the kernel.
 * @param home folder of the kernel's package
 * @throws MesovirtError GUEST_MODULE for one that the kernel does not have, GUEST_DOWNLOAD, DEB_DAMAGED
 */
export async function fetchModules(apt: Apt, kernelPackage: string, home: string, wanted: readonly string[], log: Progress): Promise<string[]> {
  const folder = path.join(home, 'modules')
  const fileOf = (name: string) => path.join(folder, `${name}.ko`)
  const builtInFile = path.join(folder, BUILT_IN)
  let deb: string | undefined
  try {
    for (let round = 0; round < MOST_ROUNDS; round++) {
      const order: string[] = []
      const absent = new Set<string>()
      const isBuiltIn = fs.existsSync(builtInFile) ? readBuiltIn(builtInFile) : undefined
      const visit = (name: string, isWish: boolean, depth: number): void => {
        if (isBuiltIn?.has(name) === true || order.includes(name) || depth > MOST_ROUNDS) return
        if (!fs.existsSync(fileOf(name))) return void absent.add(name)
        const content = fs.readFileSync(fileOf(name))
        if (content.length === 0) {
          if (isWish) return
          throw new MesovirtError('GUEST_MODULE', `${kernelPackage} has no module ${name}; leave it out of --modules`)
        }
        const { modules, wishes } = needs(content)
        for (const other of modules) visit(other, false, depth + 1)
        for (const other of wishes) visit(other, true, depth + 1)
        order.push(name)
      }
      for (const name of wanted) visit(moduleName(name), false, 0)
      if (absent.size === 0 && isBuiltIn !== undefined) return order.map(fileOf)
      deb ??= await apt.download(kernelPackage)
      log.step(`unpacking modules of ${kernelPackage}`)
      fs.mkdirSync(folder, { recursive: true })
      const isWanted = (file: string) => file.endsWith(`/${BUILT_IN}`) || (/^(usr\/)?lib\/modules\/.*\.ko(\.xz)?$/.test(file) && absent.has(moduleName(file)))
      // An empty file stands for a module that the package does not have: nobody looks for it again.
      const found = new Map((await readDeb(deb, isWanted, (files) => files.length === absent.size + 1)).map((file) => [moduleName(file.path), file]))
      for (const name of absent) {
        const file = found.get(name)
        fs.writeFileSync(fileOf(name), file === undefined ? new Uint8Array(0) : unpackModule(file))
      }
      fs.writeFileSync(builtInFile, found.get(moduleName(BUILT_IN))?.content ?? new Uint8Array(0))
    }
  } finally {
    if (deb !== undefined) fs.rmSync(deb)
  }
  throw new MesovirtError('GUEST_MODULE', `the modules of ${kernelPackage} need one another without end; leave some out of --modules`)
}

function readBuiltIn(file: string): Set<string> {
  return new Set(fs.readFileSync(file, 'utf8').split('\n').filter((line) => line !== '').map(moduleName))
}
