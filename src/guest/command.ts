/** `mesovirt guest`: fetches a Linux guest and prints where its files are. */
import path from 'node:path'
import { InvalidArgumentError, Option } from 'commander'
import type { Command } from 'commander'
import { FLAVOURS, fetchGuest, fetchInitramfs } from './fetch-guest.ts'
import type { Flavour } from './fetch-guest.ts'
import { createProgress } from './progress.ts'
import { buildRootDisk, DEFAULT_DISK_MIB, MOST_DISK_MIB } from './root-disk.ts'

/** Where guests are kept when nothing else is said, relative to the current folder. */
export const DEFAULT_GUEST_FOLDER = path.join('.cache', 'guest')

/** What a root file system on a disk and its network need. */
const DISK_MODULES = ['ext4', 'virtio_net', 'af_packet']

interface GuestCommandOptions {
  readonly flavour: Flavour
  readonly output: string
  readonly vmlinux: boolean
  readonly refresh: boolean
  readonly initrdOnly: boolean
  readonly modules: readonly string[]
  /** true: Debian */
  readonly disk?: true | string
  readonly diskSize: number
}

/** Adds the sub-command to the program. */
export function addGuestCommand(program: Command): void {
  program.command('guest')
    .description('fetch a Debian kernel and busybox, build an initramfs, print where they are')
    .addOption(new Option('--flavour <name>', 'which kernel: cloud (smaller, faster to boot) or generic').choices(FLAVOURS).default('cloud'))
    .option('--output <dir>', 'folder for the files', DEFAULT_GUEST_FOLDER)
    .option('--vmlinux', 'also unpack the kernel to an ELF file, which boots faster', false)
    .option('--refresh', 'ask for newer packages even when a guest is there', false)
    .option('--modules <names...>', 'more kernel modules, with those they need: ext4, virtio_net, ...', [])
    .option('--disk [folder]', 'also make a disk with a root file system: Debian (by debootstrap), or what is in a folder or an OCI image layout')
    .addOption(new Option('--disk-size <MiB>', 'size of that disk').default(DEFAULT_DISK_MIB).argParser(diskSize))
    .addOption(new Option('--initrd-only', 'build the initramfs only, for a kernel of your own').default(false).conflicts(['flavour', 'vmlinux', 'modules', 'disk']))
    .action(async ({ flavour, output, vmlinux, refresh, initrdOnly, modules, disk, diskSize: sizeMib }: GuestCommandOptions) => {
      const log = createProgress()
      try {
        if (initrdOnly) {
          process.stdout.write(`initrd ${await fetchInitramfs({ cacheDir: output, refresh, log })}\n`)
          return
        }
        const guest = await fetchGuest({ cacheDir: output, flavour, vmlinux, modules: disk === undefined ? modules : [...DISK_MODULES, ...modules], refresh, log })
        const image = disk === undefined ? undefined : await buildRootDisk({ folder: path.resolve(output), from: disk === true ? undefined : disk, sizeMib, refresh, log })
        const files = { kernel: guest.kernel, vmlinux: guest.vmlinux, initrd: guest.initrd, disk: image }
        process.stdout.write(Object.entries(files).map(([name, file]) => file === undefined ? '' : `${name} ${file}\n`).join(''))
      } finally {
        log.done()
      }
    })
}

function diskSize(text: string): number {
  const size = Number(text)
  if (!/^\d+$/.test(text) || size < 1 || size > MOST_DISK_MIB) throw new InvalidArgumentError(`a number of MiB up to ${MOST_DISK_MIB} is meant.`)
  return size
}
