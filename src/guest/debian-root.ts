/** A Debian root file system by debootstrap: systemd, udev and the network by DHCP, with a root shell on the serial console. */
import fs from 'node:fs'
import path from 'node:path'
import { MesovirtError } from '../../host/errors.ts'
import type { Progress } from './progress.ts'
import { runTool } from './tool.ts'

/** Where the host's apt knows no archive of Debian. */
const DEFAULT_SUITE = 'bookworm', DEFAULT_MIRROR = 'http://deb.debian.org/debian'
const PACKAGES = 'systemd-sysv,udev,dbus,iproute2,iputils-ping,wget,ca-certificates'
/** Address of the name server in `-netdev user`. Others send theirs by DHCP, which systemd-networkd leaves to systemd-resolved; hence both. */
const NAME_SERVER = '10.0.2.3'

const FILES: Readonly<Record<string, string>> = {
  'etc/hostname': 'mesovirt\n',
  'etc/hosts': '127.0.0.1 localhost mesovirt\n::1 localhost\n',
  'etc/fstab': '/dev/vda / ext4 errors=remount-ro 0 1\n',
  'etc/resolv.conf': `nameserver ${NAME_SERVER}\n`,
  'etc/machine-id': '',
  'etc/systemd/network/80-dhcp.network': '[Match]\nType=ether\n\n[Network]\nDHCP=yes\n',
  'etc/systemd/system/serial-getty@.service.d/autologin.conf':
    '[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200,57600,38400,9600 %I $TERM\n',
}
const NETWORKD = 'etc/systemd/system/multi-user.target.wants/systemd-networkd.service'

/** @throws MesovirtError GUEST_DISK, TOOL_MISSING */
export async function bootstrapDebian(root: string, log: Progress): Promise<void> {
  if (process.getuid?.() !== 0) {
    throw new MesovirtError('GUEST_DISK', 'debootstrap makes a Debian only as root; run this command as root once, or give --disk a folder with a root file system or an OCI image')
  }
  const { suite, mirror } = await archiveOfHost()
  log.step(`making a Debian ${suite}`)
  const { status, stdout, stderr } = await runTool('debootstrap', 'debootstrap', ['--variant=minbase', '--arch=amd64', `--include=${PACKAGES}`, suite, root, mirror], (line) => {
    const [, what] = /^I: (?:Retrieving|Unpacking|Configuring|Validating) (\S+)/.exec(line) ?? []
    if (what !== undefined) log.detail(what)
  })
  if (status !== 0) {
    const reason = `${stdout}\n${stderr}`.split('\n').findLast((line) => /^[EW]: /.test(line))?.slice(3)
    throw new MesovirtError('GUEST_DISK', `debootstrap failed: ${reason ?? `status ${status}`}; check the network, or give --disk a folder with a root file system`)
  }
  configure(root)
}

/** What debootstrap took from the host goes, and nobody has to log in. */
function configure(root: string): void {
  for (const [name, text] of Object.entries(FILES)) {
    const file = path.join(root, name)
    fs.mkdirSync(path.dirname(file), { recursive: true })
    fs.rmSync(file, { force: true }) // which may be a link to outside
    fs.writeFileSync(file, text)
  }
  const wanted = path.join(root, NETWORKD)
  fs.mkdirSync(path.dirname(wanted), { recursive: true })
  fs.rmSync(wanted, { force: true })
  fs.symlinkSync('/lib/systemd/system/systemd-networkd.service', wanted)
  const archives = path.join(root, 'var/cache/apt/archives')
  for (const name of fs.readdirSync(archives).filter((file) => file.endsWith('.deb'))) fs.rmSync(path.join(archives, name))
}

/** The archive that this host's apt uses, which is near or the only one that can be reached. */
async function archiveOfHost(): Promise<{ suite: string; mirror: string }> {
  const fallback = { suite: DEFAULT_SUITE, mirror: DEFAULT_MIRROR }
  const result = await runTool('apt-get', 'apt', ['indextargets', '--format', '$(ORIGIN) $(LABEL) $(CODENAME) $(COMPONENT) $(SITE)']).catch(() => undefined)
  const lines = result?.stdout.split('\n').map((line) => line.split(' ')) ?? []
  const [, , suite, , mirror] = lines.find(([origin, label, name, component, site]) => origin === 'Debian' && label === 'Debian' && component === 'main' && !name?.includes('-') && site !== undefined) ?? []
  return suite === undefined || mirror === undefined ? fallback : { suite, mirror }
}
