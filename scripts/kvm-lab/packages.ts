/** What tests need of this machine's programs: npm packages by package-lock.json (lockfileVersion 3), shared libraries by ldd(1). */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'

export interface LockedPackage { readonly dependencies?: Readonly<Record<string, string>>; readonly optionalDependencies?: Readonly<Record<string, string>> }
export type LockedPackages = Readonly<Record<string, LockedPackage>>

/**
 * Folders (`node_modules/vitest`, nested ones too) that the named packages load, with what those need.
 * @param isThere whether the folder exists: optional packages of other systems do not
 */
export function packageFolders(names: readonly string[], packages: LockedPackages, isThere: (folder: string) => boolean): string[] {
  const found = new Set<string>()
  /** As Node looks a package up: in the folder's own node_modules, then in those above it. */
  const locate = (from: string, name: string): string | undefined => {
    for (let base = from; ;) {
      const folder = `${base === '' ? '' : `${base}/`}node_modules/${name}`
      if (Object.hasOwn(packages, folder)) return folder
      if (base === '') return undefined
      base = base.slice(0, Math.max(0, base.lastIndexOf('/node_modules/')))
    }
  }
  const visit = (from: string, name: string) => {
    const folder = locate(from, name)
    if (folder === undefined || found.has(folder) || !isThere(folder)) return
    found.add(folder)
    const { dependencies, optionalDependencies } = packages[folder] ?? {}
    for (const needed of Object.keys({ ...dependencies, ...optionalDependencies })) visit(folder, needed)
  }
  names.forEach((name) => visit('', name))
  return [...found].sort()
}

/** @returns where a program is, also among those that only root has on the path */
export function programFile(name: string): string | undefined {
  return [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/sbin'].map((folder) => path.join(folder, name)).find((file) => fs.existsSync(file))
}

/** @returns where the dynamic linker finds a library */
export function libraryFile(name: string): string | undefined {
  const { stdout } = spawnSync('ldconfig', ['-p'], { encoding: 'utf8', env: { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` } })
  return stdout?.split('\n').find((line) => line.trim().startsWith(`${name} `) && line.includes('x86-64'))?.split(' => ')[1]
}

/** Absolute paths of the shared libraries that programs and addons load, the dynamic linker included. */
export function sharedLibraries(files: readonly string[]): string[] {
  const libraries = new Set<string>()
  for (const file of files) {
    const { status, stdout, error } = spawnSync('ldd', [file], { encoding: 'utf8', env: { ...process.env, LC_ALL: 'C' } })
    if (error !== undefined) throw new Error(`ldd cannot be run: ${error.message}`)
    if (status === 0) parseLdd(stdout).forEach((library) => libraries.add(library))
  }
  return [...libraries].sort()
}

/** Libraries this machine lacks are left out: packages bring addons for other C libraries, which are not loaded here either. */
export function parseLdd(text: string): string[] {
  return text.split('\n').flatMap((line) => {
    const found = /(?:=> |^\s*)(\/\S+) \(0x[0-9a-f]+\)$/.exec(line)?.[1]
    return found === undefined ? [] : [found]
  })
}

/** Regular files and symbolic links below a folder, relative to it. */
export function filesBelow(folder: string, isWanted: (relative: string) => boolean = () => true): string[] {
  const files: string[] = []
  const walk = (relative: string) => {
    for (const entry of fs.readdirSync(path.join(folder, relative), { withFileTypes: true })) {
      const inside = path.join(relative, entry.name)
      if (!isWanted(inside)) continue
      if (entry.isDirectory()) walk(inside)
      else if (entry.isFile() || entry.isSymbolicLink()) files.push(inside)
    }
  }
  walk('')
  return files.sort()
}
