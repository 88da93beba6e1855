/** What is on the lab's two disks: the system (busybox, Node, npm packages, guest kernels) and the project, each under the path it has on this machine. */
import fs from 'node:fs'
import path from 'node:path'
import type { Guests } from '../../test/support/global-setup.ts'
import type { DiskContent } from './disk.ts'
import { filesBelow, libraryFile, packageFolders, programFile, sharedLibraries } from './packages.ts'
import type { LockedPackages } from './packages.ts'

/** Packages that the built project and its tests load in the lab. Building and linting happen outside. */
const PACKAGES = ['vitest', 'fast-check', 'koffi', 'node-pty', 'commander', 'valibot', 'esbuild']
/** Programs of this machine that tests of devices run there, and libraries that are loaded by name; what is missing is missing there too. */
const PROGRAMS = ['mke2fs', 'e2fsck', 'passt']
const LIBRARIES = ['libslirp.so.0']
/** Where npm packages are on the system disk; mounted as the project's node_modules. */
export const PACKAGES_FOLDER = '/packages'
const FOREIGN = /(^|\/)(prebuilds|third_party|deps)(\/|$)/
const NOT_NEEDED = /\.(map|md|markdown|d\.ts|d\.mts|d\.cts|pdb)$/
/** Top-level entries of the project that are no input of tests. */
const LEFT_OUT = new Set(['node_modules', '.git', '.cache', 'docs', 'coverage'])

/** @param busybox the static busybox of the guests */
export function systemDisk(project: string, busybox: string, guests: Guests): DiskContent {
  const files = new Map<string, string>()
  const addons: string[] = []
  const { packages } = JSON.parse(fs.readFileSync(path.join(project, 'package-lock.json'), 'utf8')) as { packages: LockedPackages }
  for (const folder of packageFolders(PACKAGES, packages, (name) => fs.existsSync(path.join(project, name)))) {
    const source = path.join(project, folder)
    for (const file of filesBelow(source, (name) => name !== 'node_modules' && !(folder.endsWith('/node-pty') && FOREIGN.test(name)))) {
      if (NOT_NEEDED.test(file)) continue
      files.set(path.join(PACKAGES_FOLDER, folder.slice('node_modules/'.length), file), path.join(source, file))
      if (file.endsWith('.node')) addons.push(path.join(source, file))
    }
  }
  const node = fs.realpathSync(process.execPath)
  const programs = PROGRAMS.flatMap((name) => programFile(name) ?? []), libraries = LIBRARIES.flatMap((name) => libraryFile(name) ?? [])
  for (const file of [...programs, ...libraries]) files.set(file, fs.realpathSync(file))
  for (const file of programs.filter((each) => path.basename(each) === 'mke2fs')) files.set(path.join(path.dirname(file), 'mkfs.ext4'), fs.realpathSync(file))
  for (const library of sharedLibraries([node, ...addons, ...programs, ...libraries])) files.set(library, library)
  files.set('/usr/bin/node', node)
  files.set('/bin/busybox', busybox)
  for (const file of Object.values(guests).flatMap((guest) => [guest.kernel, guest.vmlinux, guest.initrd])) {
    if (!isBelow(project, file)) files.set(file, file)
    else files.set(path.join(GUESTS_FOLDER, path.relative(project, file)), file)
  }
  return {
    files,
    texts: new Map([
      ['/etc/passwd', 'root:x:0:0:root:/root:/bin/sh\n'],
      ['/etc/group', 'root:x:0:\n'],
      ['/etc/hosts', '127.0.0.1 localhost kvm-lab\n::1 localhost\n'],
      ['/etc/nsswitch.conf', 'hosts: files\n'],
      ['/etc/profile', "export PS1='kvm-lab:\\w# '\n"],
    ]),
    links: new Map(['sh', 'ls', 'cat', 'dmesg', 'ps', 'env', 'mkdir', 'rm', 'cp', 'mv', 'grep', 'sed', 'sleep', 'kill', 'mount', 'top', 'vi', 'less', 'head', 'tail', 'stty', 'uname', 'lsmod', 'id', 'date', 'time', 'free', 'taskset', 'unshare']
      .map((name): [string, string] => [`/bin/${name}`, 'busybox'])),
    folders: ['proc', 'sys', 'dev', 'tmp', 'run', 'root', 'mnt', 'var/tmp'],
  }
}

/** Guest kernels change seldom, so they lie on the system disk although their place is below the project. */
export const GUESTS_FOLDER = '/guests'

/** @param prebuilt files of the project's .cache that tests would otherwise make with tools the lab lacks */
export function projectDisk(project: string, guests: Guests, prebuilt: readonly string[]): DiskContent {
  const files = new Map<string, string>()
  for (const file of filesBelow(project, (name) => !LEFT_OUT.has(name) && !name.endsWith('.map'))) files.set(file, path.join(project, file))
  for (const file of prebuilt) files.set(file, path.join(project, file))
  const links = new Map<string, string>()
  for (const file of Object.values(guests).flatMap((guest) => [guest.kernel, guest.vmlinux, guest.initrd])) {
    if (isBelow(project, file)) links.set(path.relative(project, file), path.join(GUESTS_FOLDER, path.relative(project, file)))
  }
  return { files, texts: new Map(), links, folders: ['node_modules', '.cache'] }
}

function isBelow(folder: string, file: string): boolean {
  return file.startsWith(`${folder}/`)
}
