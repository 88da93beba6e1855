/** VmConfig -> the canonical command line that parses to the same value: for logs, and as the test of the parser. */
import { formatMac } from '../../device-model/net/mac.ts'
import type { NetdevConfig } from '../../device-model/net/open.ts'
import type { HostForward } from '../../device-model/net/user.ts'
import type { ChardevConfig, DeviceConfig, ImageConfig, MonitorConfig, PortConfig, VmConfig } from './config.ts'
import { renderKeyValues } from './grammar.ts'
import type { KeyValue } from './grammar.ts'
import { THROTTLE_KEYS } from './table-disks.ts'
import { formatSize } from './values.ts'

const onOff = (value: boolean) => (value ? 'on' : 'off')
const pairs = (members: Readonly<Record<string, string | number | boolean | undefined>>): KeyValue[] =>
  Object.entries(members).flatMap(([key, value]) => (value === undefined ? [] : [{ key,
    value: typeof value === 'boolean' ? onOff(value) : String(value) }]))

/** Every setting written out, one element per argv word. */
export function renderArguments(config: VmConfig): string[] {
  const words: string[] = []
  const add = (option: string, ...value: string[]) => { words.push(`-${option}`, ...value) }
  const { machine, smp, boot, actions, clock, log } = config
  add('machine', renderKeyValues(pairs({ type: machine.type, acpi: machine.acpi, 'unpack-kernel': machine.unpackKernel, hotplug: machine.hotplug, 'mem-share': machine.memShare,
    'dump-guest-core': machine.dumpGuestCore }), 'type'))
  if (config.accelerator.chosenBy === 'user') add('accel', config.accelerator.candidates.join(':'))
  add('cpu', config.cpu.model)
  add('smp', renderKeyValues(pairs({
    cpus: smp.cpus, maxcpus: smp.maxCpus, sockets: smp.sockets, dies: smp.dies, clusters: smp.clusters, cores: smp.cores, threads: smp.threads,
  }), 'cpus'))
  add('m', formatSize(config.memory.size))
  if (config.memory.path !== undefined) add('mem-path', config.memory.path)
  if (config.memory.preallocate) add('mem-prealloc')
  add('kernel', boot.kernel)
  if (boot.initrd !== undefined) add('initrd', boot.initrd)
  if (boot.append !== '') add('append', boot.append)
  for (const chardev of config.chardevs) add('chardev', renderChardev(chardev))
  if (config.serial !== undefined) add('serial', `chardev:${config.serial}`)
  for (const { kind, ...keys } of config.objects) add('object', renderKeyValues(pairs({ 'qom-type': kind, ...keys }), 'qom-type'))
  for (const image of config.images) add('drive', renderImage(image))
  for (const netdev of config.netdevs) add('netdev', renderNetdev(netdev))
  const [first] = config.devices.filter(({ kind }) => kind === 'virtio-serial')
  for (const device of config.devices) {
    add('device', renderDevice(device))
    if (device.kind !== 'virtio-serial') continue
    // The first is meant where no bus is named; another one with ports has an id.
    for (const port of device.ports) add('device', renderPort(port, device === first ? undefined : `${device.id ?? ''}.0`))
  }
  for (const monitor of config.monitors) add('mon', renderMonitor(monitor))
  // With its key, or a machine named help would print what -name accepts.
  if (config.name !== undefined) add('name', renderKeyValues([{ key: 'guest', value: config.name }]))
  if (config.uuid !== undefined) add('uuid', config.uuid)
  if (config.startPaused) add('S')
  if (config.daemonize) add('daemonize')
  if (config.pidFile !== undefined) add('pidfile', config.pidFile)
  if (log.kind !== 'none') add('D', ...(log.kind === 'file' ? [log.path] : []))
  add('action', renderKeyValues(pairs({ ...actions })))
  if (clock.kind === 'instruction-count') add('icount', renderKeyValues(pairs({ shift: clock.shift, sleep: clock.sleep }), 'shift'))
  for (const event of config.trace) add('trace', event)
  return words
}

function renderChardev(config: ChardevConfig): string {
  const head: KeyValue[] = [{ key: 'backend', value: config.kind }, { key: 'id', value: config.label },
    ...pairs({ mux: config.mux, logfile: config.log?.path, logappend: config.log?.append })]
  switch (config.kind) {
    case 'stdio': return renderKeyValues([...head, ...pairs({ signal: config.signal })], 'backend')
    case 'file': return renderKeyValues([...head, ...pairs({ path: config.path, append: config.append ?? false })], 'backend')
    case 'pipe': return renderKeyValues([...head, ...pairs({ path: config.path })], 'backend')
    case 'ringbuf': return renderKeyValues([...head, ...pairs({ size: config.size })], 'backend')
    case 'socket': {
      const { address, server, wait, reconnectMs, replay } = config
      const where = 'unix' in address ? { path: address.unix } : { host: address.host, port: address.port }
      return renderKeyValues([...head, ...pairs({ ...where, server, ...(server ? { wait } : {}), 'reconnect-ms': reconnectMs, replay })], 'backend')
    }
    default: return renderKeyValues(head, 'backend')
  }
}

function renderImage(image: ImageConfig): string {
  const { throttle = {} } = image
  const rates = Object.fromEntries(THROTTLE_KEYS.flatMap(({ key, rate }) => {
    const { average, max, maxSeconds } = throttle[rate] ?? {}
    return [[`throttling.${key}`, average], [`throttling.${key}-max`, max], [`throttling.${key}-max-length`, maxSeconds]]
  }))
  return renderKeyValues(pairs({
    id: image.id, file: image.filename, format: image.isRaw === true ? 'raw' : undefined, readonly: image.readOnly, aio: image.aio, direct: image.direct,
    'cache.no-flush': image.noFlush, 'cache.writeback': image.writeCache, discard: image.discard, 'detect-zeroes': image.detectZeroes, locking: image.locking,
    serial: image.serial, werror: image.onWriteError, rerror: image.onReadError, ...rates, 'throttling.iops-size': throttle.opsSize, 'throttling.group': image.throttleGroup,
  }))
}

function renderNetdev(netdev: NetdevConfig): string {
  const head: KeyValue[] = [{ key: 'type', value: netdev.kind }, { key: 'id', value: netdev.id }]
  switch (netdev.kind) {
    case 'stream': {
      const { address, server, reconnectMs } = netdev
      const where = 'fd' in address ? { 'addr.type': 'fd', 'addr.str': address.fd } : 'unix' in address ? { 'addr.type': 'unix', 'addr.path': address.unix }
        : { 'addr.type': 'inet', 'addr.host': address.host, 'addr.port': address.port }
      return renderKeyValues([...head, ...pairs({ ...where, server, 'reconnect-ms': reconnectMs })], 'type')
    }
    case 'vhost-user': return renderKeyValues([...head, ...pairs({ chardev: netdev.chardev, queues: netdev.queues })], 'type')
    case 'tap': return renderKeyValues([...head, ...pairs({
      ifname: netdev.ifname, fds: netdev.fds.length === 0 ? undefined : netdev.fds.join(':'), queues: netdev.queues, vnet_hdr: netdev.header,
    })], 'type')
    case 'user': {
      const { slirp, forwards } = netdev
      const repeated = [...slirp.dnsSearch.map((value) => ({ key: 'dnssearch', value })), ...forwards.map((forward) => ({ key: 'hostfwd', value: formatForward(forward) }))]
      return renderKeyValues([...head, ...pairs({
        ipv4: slirp.ipv4, net: `${ipv4(slirp.network)}/${ipv4(slirp.mask)}`, host: ipv4(slirp.host), dhcpstart: ipv4(slirp.dhcpStart), dns: ipv4(slirp.dns),
        ipv6: slirp.ipv6, 'ipv6-net': `${ipv6(slirp.prefix6)}/${slirp.prefix6Length}`, 'ipv6-host': ipv6(slirp.host6), 'ipv6-dns': ipv6(slirp.dns6),
        restrict: slirp.restricted, hostname: slirp.hostname, domainname: slirp.domainName, tftp: slirp.tftp, 'tftp-server-name': slirp.tftpServerName, bootfile: slirp.bootFile,
      }), ...repeated], 'type')
    }
  }
}

function ipv4(address: Uint8Array): string {
  return [...address].join('.')
}

function ipv6(address: Uint8Array): string {
  return Array.from({ length: 8 }, (_, index) => (((address[index * 2] ?? 0) << 8) | (address[index * 2 + 1] ?? 0)).toString(16)).join(':')
}

function formatForward({ protocol, hostAddress, hostPort, guestAddress, guestPort }: HostForward): string {
  return `${protocol}:${ipv4(hostAddress)}:${hostPort}-${ipv4(guestAddress)}:${guestPort}`
}

function renderDevice(device: DeviceConfig): string {
  const { kind, id, rings } = device
  return renderKeyValues(pairs({
    driver: `${kind}-device`, id, ...deviceMembers(device), packed: rings.packed, indirect_desc: rings.indirect, event_idx: rings.eventIndex,
  }), 'driver')
}

function renderPort({ id, isConsole, chardev, name, nr }: PortConfig, bus: string | undefined): string {
  return renderKeyValues(pairs({ driver: isConsole ? 'virtconsole' : 'virtserialport', id, chardev, name, nr, bus }), 'driver')
}

function deviceMembers(device: DeviceConfig): Parameters<typeof pairs>[0] {
  switch (device.kind) {
    case 'virtio-rng': return { rng: device.rng, 'max-bytes': device.limit?.bytes, period: device.limit?.periodMs }
    case 'virtio-vsock': return { 'guest-cid': device.guestCid, path: device.path }
    case 'vhost-user-fs': return { chardev: device.chardev, tag: device.tag, 'num-request-queues': device.requestQueues, 'queue-size': device.queueSize }
    case 'virtio-balloon': return { 'deflate-on-oom': device.balloon.deflateOnOom, 'free-page-reporting': device.balloon.freePageReporting }
    case 'virtio-serial': return { max_ports: device.maxPorts }
    case 'virtio-net': return {
      netdev: device.netdev, mac: device.mac === undefined ? undefined : formatMac(device.mac), mq: device.multiQueue, rx_queue_size: device.rxQueueSize, tx_queue_size: device.txQueueSize,
      host_mtu: device.mtu, csum: device.checksum, guest_csum: device.guestChecksum, gso: device.segmentation, mrg_rxbuf: device.mergeable,
    }
    case 'virtio-blk': return {
      drive: device.drive, serial: device.serial, 'num-queues': device.queues, 'queue-size': device.queueSize, logical_block_size: device.logicalBlockSize,
      physical_block_size: device.physicalBlockSize, min_io_size: device.minIoSize, opt_io_size: device.optIoSize, discard_granularity: device.discardGranularity,
      discard: device.discard, 'write-zeroes': device.writeZeroes, 'write-cache': device.writeCache === undefined ? 'auto' : device.writeCache,
      'config-wce': device.configWce, werror: device.onWriteError, rerror: device.onReadError,
    }
  }
}

function renderMonitor(monitor: MonitorConfig): string {
  return renderKeyValues(pairs({ chardev: monitor.chardev, id: monitor.id, mode: 'control', pretty: monitor.pretty }))
}
