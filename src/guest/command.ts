/** `mesovirt guest`: fetches a Linux guest and prints where its files are. */
import path from 'node:path'
import { Option } from 'commander'
import type { Command } from 'commander'
import { FLAVOURS, fetchGuest, fetchInitramfs } from './fetch-guest.ts'
import type { Flavour } from './fetch-guest.ts'
import { createProgress } from './progress.ts'

/** Where guests are kept when nothing else is said, relative to the current folder. */
export const DEFAULT_GUEST_FOLDER = path.join('.cache', 'guest')

interface GuestCommandOptions { readonly flavour: Flavour; readonly output: string; readonly vmlinux: boolean; readonly refresh: boolean; readonly initrdOnly: boolean; readonly modules: readonly string[] }

/** Adds the sub-command to the program. */
export function addGuestCommand(program: Command): void {
  program.command('guest')
    .description('fetch a Debian kernel and busybox, build an initramfs, print where they are')
    .addOption(new Option('--flavour <name>', 'which kernel: cloud (smaller, faster to boot) or generic').choices(FLAVOURS).default('cloud'))
    .option('--output <dir>', 'folder for the files', DEFAULT_GUEST_FOLDER)
    .option('--vmlinux', 'also unpack the kernel to an ELF file, which boots faster', false)
    .option('--refresh', 'ask for newer packages even when a guest is there', false)
    .option('--modules <names...>', 'more kernel modules, with those they need: ext4, virtio_net, ...', [])
    .addOption(new Option('--initrd-only', 'build the initramfs only, for a kernel of your own').default(false).conflicts(['flavour', 'vmlinux', 'modules']))
    .action(async ({ flavour, output, vmlinux, refresh, initrdOnly, modules }: GuestCommandOptions) => {
      const log = createProgress()
      try {
        if (initrdOnly) {
          process.stdout.write(`initrd ${await fetchInitramfs({ cacheDir: output, refresh, log })}\n`)
          return
        }
        const guest = await fetchGuest({ cacheDir: output, flavour, vmlinux, modules, refresh, log })
        process.stdout.write(`kernel ${guest.kernel}\n${guest.vmlinux === undefined ? '' : `vmlinux ${guest.vmlinux}\n`}initrd ${guest.initrd}\n`)
      } finally {
        log.done()
      }
    })
}
