/** A root file system of busybox for a disk, which says what it finds and goes: `root:`, `id:`, with a card `lease:` and `sum:`. */
import fs from 'node:fs'
import path from 'node:path'
import { silentProgress } from '../../src/guest/progress.ts'
import { buildRootDisk } from '../../src/guest/root-disk.ts'
import { IS_IN_LAB } from './accelerator.ts'
import { guests, linux, Run } from './vm.ts'

const BUSYBOX = IS_IN_LAB ? '/bin/busybox' : path.join(path.dirname(guests.cloud.initrd), 'busybox')

const INIT = `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
echo "root: $(grep ' / ' /proc/mounts)"
echo "id: $(cat /etc/who), owner $(stat -c %u /etc/who), $(stat -c %a /secret)"
if ip link set eth0 up; then
  udhcpc -i eth0 -n -q -f -s /lease
  echo "sum: $(wget -q -O - "$(cat /etc/server)" | md5sum)"
fi
echo kept >/etc/kept
sync
poweroff -f
`
const LEASE = '#!/bin/sh\n[ "$1" = bound ] && ip addr add $ip/$mask dev $interface && ip route add default via $router && echo "lease: $ip"\nexit 0\n'

/** @param port of a server on the host, whose file is fetched */
export function writeRoot(root: string, port = 0): void {
  for (const folder of ['bin', 'sbin', 'dev', 'proc', 'sys', 'etc', 'tmp']) fs.mkdirSync(path.join(root, folder), { recursive: true })
  fs.copyFileSync(BUSYBOX, path.join(root, 'bin/busybox'))
  fs.chmodSync(path.join(root, 'bin/busybox'), 0o755)
  for (const name of ['sh', 'mount', 'grep', 'stat', 'cat', 'ip', 'udhcpc', 'wget', 'md5sum', 'sync', 'poweroff']) fs.symlinkSync('busybox', path.join(root, 'bin', name))
  const files: readonly [string, string, number][] = [
    ['sbin/init', INIT, 0o755], ['lease', LEASE, 0o755], ['etc/who', 'a disk', 0o644], ['secret', '', 0o600], ['etc/server', `http://10.0.2.2:${port}/`, 0o644],
  ]
  for (const [name, text, mode] of files) fs.writeFileSync(path.join(root, name), text, { mode })
}

export const buildDisk = (folder: string, from: string, sizeMib = 64): Promise<string> => buildRootDisk({ folder, from, sizeMib, refresh: false, log: silentProgress })

export function bootDisk(image: string, append: string, args: readonly string[] = []): Run {
  return new Run(linux({
    args: ['-drive', `id=root,file=${image},format=raw`, '-device', 'virtio-blk-device,drive=root', ...args],
    append: `console=ttyS0 panic=1 quiet ${append}`, initrd: guests.devices.initrd,
  }))
}
