/**
 * The life of one machine process: opens character devices and monitors, builds the machine, runs it, and ends with everything flushed, closed and
 * removed. The kernel is loaded after the monitors listen: the time to the greeting is part of what this program promises.
 */
import os from 'node:os'
import { openRandomSource } from '../device-model/random-source.ts'
import { onProcessEnd } from '../host/cleanup.ts'
import { MesovirtError } from '../host/errors.ts'
import { LightMachine } from '../machine/light.ts'
import { buildOnAccelerator } from './accelerator.ts'
import { Chardevs, isListener } from './chardevs.ts'
import { Consoles } from './consoles.ts'
import { Disks } from './disks.ts'
import { closeLog, logger } from './log.ts'
import { Networks } from './networks.ts'
import { ProgressLine } from './progress-line.ts'
import { notifyReady } from './ready.ts'
import type { CharBackend } from '../device-model/contracts.ts'
import type { BootPhase } from '../device-model/platform-ports.ts'
import type { RandomSource } from '../device-model/random-source.ts'
import type { RamBacking } from '../host/ram-backing.ts'
import type { LightMachineOptions } from '../machine/light.ts'
import type { VirtioDeviceOptions } from '../machine/light-virtio.ts'
import type { AcceleratorFactory } from './accelerator.ts'
import type { Monitors } from './monitors.ts'
import { chardevUsers, peerSocket } from './options/vhost-user.ts'
import type { DeviceConfig, ObjectConfig, VmConfig } from './options/config.ts'
import type { LightBalloon } from '../machine/light-balloon.ts'
import type { BalloonControl, ChardevInfo, CpuInfo, VirtualMachine } from './vm.ts'

const log = logger('lifecycle')

/** Takes a line for the user about a choice that was made for them. */
export type Notice = (line: string) => void

/**
 * Runs a machine to its end.
 * @returns exit status of the process: 0 after a shutdown of any kind, 1 after an error of our own
 * @throws MesovirtError for everything that keeps the machine from starting; nothing is left open then
 */
export async function launch(config: VmConfig, notice: Notice): Promise<number> {
  const closers: (() => Promise<unknown> | void)[] = []
  try {
    return await run(config, notice, (closer) => closers.push(closer))
  } finally {
    for (const close of closers.reverse()) {
      try {
        await close()
      } catch (error) {
        log.error(`cannot close: ${error instanceof Error ? error.message : String(error)}`)
      }
    }
    closeLog()
  }
}

async function run(config: VmConfig, notice: Notice, atEnd: (closer: () => Promise<unknown> | void) => void): Promise<number> {
  // Until there is a machine to end (a character device may wait for its client), a signal ends the process.
  let quit: (reason: 'host-qmp-quit' | 'host-signal', signal?: NodeJS.Signals) => void = (_reason, signal) => {
    process.exit(signal === undefined ? 0 : statusOf(signal))
  }
  const stopSignals = onSignals((signal) => quit('host-signal', signal))
  atEnd(stopSignals)

  // Read while the machine is being built.
  const monitorModule = config.monitors.length > 0 ? import('./monitors.ts') : undefined
  monitorModule?.catch(() => undefined)
  const monitorLabels = new Set(config.monitors.map(({ chardev }) => chardev))
  const chardevs = new Chardevs({ onQuit: () => quit('host-qmp-quit'), log: (message) => log.info(message) })
  atEnd(() => chardevs.close())
  // Behind these is the back end of a device, and the device connects.
  const backEndLabels = new Set(chardevUsers(config.devices, config.netdevs).map(({ label }) => label))
  for (const chardev of config.chardevs) {
    if ((monitorLabels.has(chardev.label) && isListener(chardev)) || backEndLabels.has(chardev.label)) chardevs.reserve(chardev.label)
    else await chardevs.open(chardev)
  }
  const consoles = new Consoles(chardevs)

  const disks = new Disks()
  atEnd(() => disks.close())
  for (const image of config.images) disks.open(image)

  const networks = new Networks((message) => log.info(message), (chardev) => peerSocket(config.chardevs, chardev, '-netdev vhost-user chardev='))
  atEnd(() => networks.close())
  for (const netdev of config.netdevs) await networks.open(netdev)

  const sources = new Map<string, RandomSource>()
  const openSource = (object: ObjectConfig) => {
    const source = openRandomSource(object, (message) => log.error(message))
    atEnd(() => source.close())
    return source
  }
  for (const object of config.objects) sources.set(object.id, openSource(object))
  const deviceOptions = async (device: DeviceConfig): Promise<VirtioDeviceOptions> => {
    switch (device.kind) {
      case 'virtio-blk': return disks.device(device)
      case 'virtio-net': return networks.device(device)
      case 'virtio-balloon': return device
      case 'virtio-serial': return consoles.device(device)
      case 'virtio-vsock': {
        const { path, ...rest } = device
        const { HostSockets } = await import('../device-model/vsock/host-sockets.ts')
        const hostSide = await HostSockets.open(path, (message) => log.info(message))
        atEnd(() => hostSide.close())
        return { ...rest, hostSide }
      }
      case 'vhost-user-fs': {
        const { chardev, tag, requestQueues, queueSize, ...rest } = device
        return { ...rest, fs: { path: peerSocket(config.chardevs, chardev, '-device vhost-user-fs-device chardev=').path, tag, requestQueues, queueSize } }
      }
      case 'virtio-rng': {
        const { rng, ...rest } = device
        return { ...rest, source: (rng === undefined ? undefined : sources.get(rng)) ?? openSource({ kind: 'rng-builtin', id: 'rng' }) }
      }
    }
  }
  const virtio: VirtioDeviceOptions[] = []
  for (const device of config.devices) virtio.push(await deviceOptions(device))

  const progress = new ProgressLine('-mem-prealloc')
  atEnd(() => progress.clear())
  const serial = config.serial === undefined ? undefined : chardevs.claim(config.serial)
  const machine = await buildOnAccelerator(config.accelerator, { memory: config.memory.size, notice },
    (accelerator) => new LightMachine({ ...machineOptions(config, serial, accelerator), virtio, ramBacking: ramBacking(config, progress.show) }))
  disks.machine = machine
  networks.machine = machine
  consoles.machine = machine
  atEnd(() => machine.close())
  quit = (reason) => machine.quit(reason)

  const monitors: { current?: Monitors } = {}
  chardevs.monitors = () => [...monitors.current?.chardevs() ?? [], ...backEndInfo(config, backEndLabels)]
  const vm = asVirtualMachine(config, machine, { disks, networks, consoles, chardevs })
  if (monitorModule !== undefined) {
    monitors.current = await (await monitorModule).openMonitors(config, vm, chardevs, log)
    const { close } = monitors.current
    atEnd(close)
    await Promise.race([monitors.current.connected, machine.ended])
  }

  await machine.load({ run: !config.startPaused })
  notifyReady()
  const end = await machine.ended
  if (end.kind === 'internal-error') throw new MesovirtError('INTERNAL_ERROR', `the machine stopped by an internal error: ${end.message.split('\n')[0] ?? ''}`)
  if (end.kind === 'kernel-failed') throw new MesovirtError('KERNEL_DAMAGED', `-kernel ${config.boot.kernel}: ${end.message}`)
  log.info(`the machine ended: ${end.reason}`)
  return 0
}

function machineOptions(config: VmConfig, serial: CharBackend | undefined, accelerator: AcceleratorFactory): LightMachineOptions {
  const { smp, clock, boot, actions, machine, memory } = config
  return {
    memory: memory.size, kernel: boot.kernel, initrd: boot.initrd, commandLine: boot.append, acpi: machine.acpi, unpackKernel: machine.unpackKernel, clock, serial, accelerator,
    slots: machine.hotplug === 'auto' ? config.monitors.length > 0 : machine.hotplug === 'on',
    topology: { cpus: smp.cpus, sockets: smp.sockets, dies: smp.dies, cores: smp.clusters * smp.cores, threads: smp.threads },
    onGuestReset: actions.reboot,
    onShutdown: actions.shutdown,
    onInternalError: keepsAfterError(config) ? 'keep' : 'end',
    onBootPhase: config.trace.includes('boot') ? printPhase : undefined,
    log: (message) => log.info(message),
    // Registers come with some errors: a line of the log for each of theirs.
    logError: (message) => message.trim().split('\n').forEach((line) => log.error(line)),
  }
}

function ramBacking({ machine, memory }: VmConfig, onProgress: RamBacking['onProgress']): RamBacking {
  return { share: machine.memShare, path: memory.path, preallocate: memory.preallocate, dump: machine.dumpGuestCore, onProgress }
}

/** QEMU keeps a machine whose accelerator failed, for whoever asks its monitor; without a monitor nobody could ever end it. */
function keepsAfterError({ actions, monitors }: VmConfig): boolean {
  if (actions.panic === undefined) return monitors.length > 0
  return actions.panic === 'pause' || actions.panic === 'none'
}

/** `boot    1.234567 s  user space reached (port 0x3ff, 2)` on standard error. */
function printPhase({ atNs, name, source, code }: BootPhase): void {
  const seconds = (Number(atNs / 1000n) / 1e6).toFixed(6).padStart(11)
  process.stderr.write(`boot ${seconds} s  ${name} (${source}, ${code})\r\n`)
}

function backEndInfo(config: VmConfig, labels: ReadonlySet<string>): ChardevInfo[] {
  return [...labels].map((label) => ({ label, filename: `unix:${peerSocket(config.chardevs, label, label).path}`, frontendOpen: true }))
}

function asVirtualMachine(config: VmConfig, machine: LightMachine, controls: Pick<VirtualMachine, 'disks' | 'networks' | 'consoles' | 'chardevs'>): VirtualMachine {
  const { smp } = config
  const cpuInfo = (index: number): CpuInfo => {
    const core = Math.floor(index / smp.threads)
    const die = Math.floor(core / (smp.clusters * smp.cores))
    return {
      index, threadId: machine.threadId(index), halted: machine.isHalted(index),
      props: { socketId: Math.floor(die / smp.dies), dieId: die % smp.dies, coreId: core % (smp.clusters * smp.cores), threadId: index % smp.threads },
    }
  }
  return {
    name: config.name,
    uuid: config.uuid,
    accelerator: machine.accelerator,
    machineType: machine.machineType,
    maxCpus: MAX_CPUS,
    status: () => machine.status() === 'prelaunch' && !config.startPaused && starting(machine) ? 'running' : machine.status(),
    stop: () => machine.stop(),
    cont: () => machine.cont(),
    reset: () => machine.reset(),
    powerdown: () => machine.powerdown(),
    quit: (reason) => machine.quit(reason),
    cpus: () => Array.from({ length: smp.cpus }, (_, index) => cpuInfo(index)),
    ...controls,
    get balloon() { return machine.balloon === undefined ? undefined : balloonControl(machine.balloon) },
    registers: (index) => machine.registers(index),
    acceleratorStatistics: () => machine.acceleratorStatistics(),
    memoryTree: () => machine.memoryTree(),
    readPhysical: (address, length) => machine.readPhysical(address, length),
    readVirtual: (index, address, length) => machine.readVirtual(index, address, length),
    subscribe: (listener) => machine.subscribe(listener),
  }
}

function balloonControl({ id, options, device }: LightBalloon): BalloonControl {
  return {
    id, options, get bytesLeft() { return device.bytesLeft }, setTarget: (bytes) => device.setTarget(bytes), get statistics() { return device.statistics },
    get pollSeconds() { return device.pollSeconds }, set pollSeconds(seconds) { device.pollSeconds = seconds },
  }
}

/** As StratoVirt and the software CPU have it. */
const MAX_CPUS = 254

function starting(machine: LightMachine): boolean {
  return !machine.started
}

/** Exit status of a process that a signal ended. */
function statusOf(signal: NodeJS.Signals): number {
  return 128 + os.constants.signals[signal]
}

/** SIGTERM, SIGINT and SIGHUP end the machine cleanly; a second one ends the process at once. */
function onSignals(end: (signal: NodeJS.Signals) => void): () => void {
  let asked = false
  const handler = (signal: NodeJS.Signals) => {
    if (asked) process.exit(statusOf(signal))
    asked = true
    end(signal)
  }
  const signals = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const
  for (const signal of signals) process.on(signal, handler)
  // Without a step of its own the registry would take the signals away from us again.
  const cleanup = onProcessEnd(() => undefined)
  return () => {
    for (const signal of signals) process.off(signal, handler)
    cleanup.forget()
  }
}
