/** The initramfs of our guest: busybox, a few modules, and an init that ends in a shell on the console. Leaving the shell powers off. */
import { gzipSync } from 'node:zlib'
import { writeCpio } from './cpio.ts'
import type { CpioEntry } from './cpio.ts'

export interface InitramfsOptions {
  /** A static busybox. */
  readonly busybox: Uint8Array
  /** Replaces DEFAULT_INIT. */
  readonly init?: string | undefined
  /** Kernel modules, loaded in this order by DEFAULT_INIT. */
  readonly modules?: readonly { readonly name: string; readonly content: Uint8Array }[] | undefined
  /** More files by relative path, with their folders made; `run-at-boot` (mode 755) is run by DEFAULT_INIT instead of the shell. */
  readonly extraFiles?: Readonly<Record<string, { readonly content: Uint8Array | string; readonly mode?: number }>> | undefined
}

/** Printed by DEFAULT_INIT when user space runs; tests and the bench wait for it. */
export const GREETING = 'Welcome to Linux'

/**
 * Standard input of init is the console: every command that could read from it gets /dev/null instead, because what is typed or piped
 * during the boot belongs to the shell. A byte 2 to port 0x3ff marks "user space reached" for `-trace boot` (where the kernel has /dev/port).
 * A kernel whose only console has its driver in a module (hvc0) starts init without any: it gets the console once the driver has found it.
 * With root= on the command line (a device, LABEL= or UUID=; ro, rw, rootfstype=, rootflags=, init= as the kernel knows them) it goes on to the init of that
 * file system; where that cannot be, it says so and the shell comes.
 * Modules of virtio devices are loaded where such devices are announced, by ACPI or on the command line: they cost a boot 3 % of its instructions.
 */
export const DEFAULT_INIT = `#!/bin/busybox sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root TERM=\${TERM:-vt100}
{ true 3>&1; } 2>/dev/null || { late=1; exec </dev/null >/dev/null 2>&1; }
{
  /bin/busybox mkdir -p /proc /sys /dev /tmp /run /usr/bin /usr/sbin
  /bin/busybox mount -t proc proc /proc
  /bin/busybox mount -t sysfs sysfs /sys
  /bin/busybox mount -t devtmpfs devtmpfs /dev
  [ -c /dev/port ] && printf '\\002' | /bin/busybox dd of=/dev/port bs=1 seek=1023 conv=notrunc 2>/dev/null
  /bin/busybox --install -s
  mkdir -p /dev/pts
  mount -t devpts devpts /dev/pts
  hostname mesovirt
  dmesg -n 4
  [ -e /sys/bus/acpi/devices/LNRO0005:00 ] || grep -q virtio_mmio.device= /proc/cmdline || rm -f /lib/modules/*virtio*.ko
  for module in /lib/modules/*.ko; do [ -e "$module" ] && insmod "$module"; done
  [ -d /etc/acpi ] && [ -e /dev/input/event0 ] && acpid -c /etc/acpi -p /run/acpid.pid -l /run/acpid.log
} </dev/null
if [ -n "$late" ]; then
  tries=0
  until { true </dev/console; } 2>/dev/null || [ $((tries += 1)) -gt 200 ]; do sleep 0.05; done
  exec </dev/console >/dev/console 2>&1
fi
root= type=ext4 mode=ro flags= next=/sbin/init found=
for word in $(cat /proc/cmdline); do
  case $word in
    root=*) root=\${word#root=} ;;
    rootfstype=*) type=\${word#*=} ;;
    rootflags=*) flags=,\${word#*=} ;;
    init=*) next=\${word#init=} ;;
    ro | rw) mode=$word ;;
  esac
done
if [ -n "$root" ]; then
  {
    mkdir -p /mnt
    tries=0
    until device=$(case $root in *=*) findfs "$root" ;; *) [ -b "$root" ] && echo "$root" ;; esac) || [ $((tries += 1)) -gt 100 ]; do sleep 0.1; done
    if mount -t "$type" -o "$mode$flags" "$device" /mnt && { [ -x "/mnt$next" ] || [ -L "/mnt$next" ]; }; then
      found=1
      mkdir -p /mnt/proc /mnt/sys /mnt/dev
      for folder in dev/pts proc sys; do umount /$folder; done
      mount --move /dev /mnt/dev
    fi
  } 2>/dev/null </dev/null
  [ -n "$found" ] && exec switch_root /mnt "$next"
  echo "root=$root: there is no file system of type $type with $next. This is the initramfs."
fi
cd /root
if [ -x /run-at-boot ]; then
  /run-at-boot
else
  echo
  echo "${GREETING} $(uname -r). 'exit' powers the machine off."
  echo
  setsid cttyhack sh -l
fi
sync
poweroff -f
`

/**
 * There is no init daemon that could be asked to stop: the commands act at once. `stty echo` changes nothing and waits until the terminal has sent all it holds:
 * the serial port's interrupt may be another processor's, and when the shell ends Linux throws away what is left.
 */
const PROFILE = `export PS1='mesovirt:\\w# '
drain() { stty echo 2>/dev/null; }
poweroff() { sync; drain; command poweroff -f "$@"; }
reboot() { sync; drain; command reboot -f "$@"; }
halt() { sync; drain; command halt -f "$@"; }
trap drain EXIT
`
const ACPID_POWER_SCRIPT = `#!/bin/sh
poweroff -f
`

/** @returns a gzip-compressed cpio archive; the same input gives the same bytes */
export function buildInitramfs({ busybox, init = DEFAULT_INIT, modules = [], extraFiles = {} }: InitramfsOptions): Uint8Array {
  const files: CpioEntry[] = [
    { path: 'dev/console', type: 'character', major: 5, minor: 1 },
    { path: 'dev/null', type: 'character', major: 1, minor: 3, mode: 0o666 },
    { path: 'bin/busybox', type: 'file', content: busybox, mode: 0o755 },
    { path: 'bin/sh', type: 'symlink', target: 'busybox' },
    { path: 'etc/passwd', type: 'file', content: 'root:x:0:0:root:/root:/bin/sh\n' },
    { path: 'etc/group', type: 'file', content: 'root:x:0:\n' },
    { path: 'etc/profile', type: 'file', content: PROFILE },
    { path: 'etc/acpi/PWRF/00000080', type: 'file', content: ACPID_POWER_SCRIPT, mode: 0o755 },
    { path: 'init', type: 'file', content: init, mode: 0o755 },
    ...modules.map(({ name, content }, index): CpioEntry => ({ path: `lib/modules/${String(index).padStart(2, '0')}-${name}`, type: 'file', content })),
  ]
  const replaced = new Set(Object.keys(extraFiles))
  const all = [...files.filter(({ path }) => !replaced.has(path)),
    ...Object.entries(extraFiles).map(([path, { content, mode }]): CpioEntry => ({ path, type: 'file', content, ...(mode === undefined ? {} : { mode }) }))]
  const folders = new Set(['dev', 'proc', 'sys', 'tmp', 'run', 'root', 'sbin', 'usr', 'usr/bin', 'usr/sbin'])
  for (const { path } of all) path.split('/').slice(0, -1).forEach((_, index, parts) => folders.add(parts.slice(0, index + 1).join('/')))
  const directories = [...folders].sort().map((path): CpioEntry => ({ path, type: 'directory', mode: path === 'root' ? 0o700 : 0o755 }))
  // gzip's header carries no time and no name, so the result depends on the content only.
  return gzipSync(writeCpio([...directories, ...all]), { level: 9 })
}
