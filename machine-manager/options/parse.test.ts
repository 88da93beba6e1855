import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { MesovirtError } from '../../host/errors.ts'
import type { NetdevConfig } from '../../device-model/net/open.ts'
import type { AcceleratorName, ChardevConfig, VmConfig } from './config.ts'
import { parseCommandLine } from './parse.ts'
import { renderArguments } from './render.ts'
import { OPTIONS } from './table.ts'
import { checkFiles } from './validate.ts'

const MIB = 1024 * 1024
const KERNEL = ['-kernel', 'vmlinuz']

function launchOf(...argv: string[]): { config: VmConfig; notices: readonly string[] } {
  const command = parseCommandLine(argv)
  if (command.kind !== 'launch') throw new Error(`expected a launch, got ${command.kind}`)
  return command
}
const configOf = (...argv: string[]) => launchOf(...argv, ...KERNEL).config
const refusal = (...argv: string[]): MesovirtError => {
  try {
    parseCommandLine(argv)
  } catch (error) {
    if (error instanceof MesovirtError) return error
    throw error
  }
  throw new Error(`accepted: ${argv.join(' ')}`)
}

describe('a command line becomes a configuration', () => {
  it('has defaults for everything but the kernel', () => {
    expect(configOf()).toEqual({
      machine: { type: 'microvm', acpi: 'auto', unpackKernel: 'auto', hotplug: 'auto', memShare: false, dumpGuestCore: true },
      accelerator: { candidates: ['kvm', 'tcg'], chosenBy: 'default' },
      cpu: { model: 'host' },
      smp: { cpus: 1, maxCpus: 1, sockets: 1, dies: 1, clusters: 1, cores: 1, threads: 1 },
      memory: { size: 256 * MIB, path: undefined, preallocate: false },
      boot: { kernel: 'vmlinuz', initrd: undefined, append: '' },
      chardevs: [], serial: undefined, objects: [], images: [], netdevs: [], devices: [], monitors: [], name: undefined, uuid: undefined, startPaused: false, daemonize: false, pidFile: undefined,
      log: { kind: 'none' }, actions: { reboot: 'shutdown', shutdown: 'poweroff', panic: undefined }, clock: { kind: 'host' }, trace: [],
    })
  })

  it('reads the example of the manual', () => {
    const config = configOf('-machine', 'microvm', '-accel', 'tcg', '-m', '256', '-initrd', 'i.img', '-append', 'console=ttyS0', '-serial', 'stdio',
      '-qmp', 'unix:vm.sock,server,nowait')
    expect(config.accelerator).toEqual({ candidates: ['tcg'], chosenBy: 'user' })
    expect(config.boot).toEqual({ kernel: 'vmlinuz', initrd: 'i.img', append: 'console=ttyS0' })
    expect(config.chardevs).toEqual([
      { label: 'serial0', kind: 'stdio' },
      { label: 'compat_monitor0', kind: 'socket', address: { unix: 'vm.sock' }, server: true, wait: false },
    ])
    expect(config.serial).toBe('serial0')
    expect(config.monitors).toEqual([{ id: undefined, chardev: 'compat_monitor0', pretty: false }])
  })

  it('reads what Kata Containers gives, up to its devices', () => {
    const config = configOf('-name', 'sandbox-1', '-uuid', '123E4567-e89b-42d3-a456-426614174000', '-smp', '1', '-m', '1024', '-append',
      'dm-mod.create="dm-verity,,,ro,0 8 verity 1" reboot=k', '-qmp', 'unix:/run/q,server,nowait', '-D', '-disable-seccomp', '-machine',
        'type=microvm,dump-guest-core=off,mem-share=on')
    expect(config.name).toBe('sandbox-1')
    expect(config.uuid).toBe('123e4567-e89b-42d3-a456-426614174000')
    expect(config.boot.append).toBe('dm-mod.create="dm-verity,,,ro,0 8 verity 1" reboot=k')
    expect(config.log).toEqual({ kind: 'stderr' })
    expect(config.machine).toEqual({ type: 'microvm', acpi: 'auto', unpackKernel: 'auto', hotplug: 'auto', memShare: true, dumpGuestCore: false })
  })

  it('accepts what libvirt adds', () => {
    const config = configOf('-name', 'guest=web,debug-threads=on', '-S', '-no-user-config', '-nodefaults', '-nographic', '-overcommit',
      'mem-lock=off', '-sandbox', 'on,obsolete=deny',
      '-msg', 'timestamp=on', '-rtc', 'base=utc', '-boot', 'strict=on', '-realtime', 'mlock=off', '-display', 'none', '-usb', '-machine',
        'microvm,usb=off,accel=tcg',
      '-chardev', 'socket,id=charmonitor,path=/run/m,server=on,wait=off', '-mon', 'chardev=charmonitor,id=monitor,mode=control', '-chardev',
        'pty,id=c0', '-serial', 'chardev:c0')
    expect(config.name).toBe('web')
    expect(config.startPaused).toBe(true)
    expect(config.monitors).toEqual([{ id: 'monitor', chardev: 'charmonitor', pretty: false }])
    expect(config.serial).toBe('c0')
  })

  it.each<[string[], Partial<VmConfig>]>([
    [['-M', 'MICROVM,acpi=off'], { machine: { type: 'microvm', acpi: 'off', unpackKernel: 'auto', hotplug: 'auto', memShare: false, dumpGuestCore: true } }],
    [['-machine', 'mem_share=yes,dump_guest_core=no,acpi=yes'], { machine: { type: 'microvm', acpi: 'on', unpackKernel: 'auto', hotplug: 'auto', memShare: true, dumpGuestCore: false } }],
    [['-machine', '{"type":"microvm","mem-share":true}'], { machine: { type: 'microvm', acpi: 'auto', unpackKernel: 'auto', hotplug: 'auto', memShare: true, dumpGuestCore: true } }],
    [['-cpu', 'max,pmu=off'], { cpu: { model: 'max' } }],
    [['-m', 'size=1G'], { memory: { size: 1024 * MIB, path: undefined, preallocate: false } }],
    [['-m', '128'], { memory: { size: 128 * MIB, path: undefined, preallocate: false } }],
    [['-m', '3584M'], { memory: { size: 3584 * MIB, path: undefined, preallocate: false } }],
    [['-mem-path', '/dev/huge,pages', '-mem-prealloc'], { memory: { size: 256 * MIB, path: '/dev/huge,pages', preallocate: true } }],
    [['-freeze'], { startPaused: true }],
    [['-D', 'vm.log'], { log: { kind: 'file', path: 'vm.log' } }],
    [['-pidfile', 'p'], { pidFile: 'p' }],
    [['-no-shutdown', '-no-reboot'], { actions: { reboot: 'shutdown', shutdown: 'pause', panic: undefined } }],
    [['-action', 'reboot=reset,panic=none', '-action', 'shutdown=pause'], { actions: { reboot: 'reset', shutdown: 'pause', panic: 'none' } }],
    [['-icount', '5'], { clock: { kind: 'instruction-count', shift: 5, sleep: true } }],
    [['-icount', 'shift=0,sleep=off,align=off'], { clock: { kind: 'instruction-count', shift: 0, sleep: false } }],
    [['-trace', 'boot', '-trace', 'enable=boot'], { trace: ['boot'] }],
    [['-append', 'a', 'b', '-S', '-append', 'c'], { boot: { kernel: 'vmlinuz', initrd: undefined, append: 'a b c' } }],
    [['-name', 'a,,b'], { name: 'a,b' }],
    [['-serial', 'none', '-monitor', 'none', '-vga', 'none', '-net', 'none', '-parallel', 'null'], { serial: undefined, chardevs: [] }],
    [['-qmp', 'tcp:127.0.0.1:4444,server=on,wait=off', '-qmp-pretty', 'stdio'], {
      monitors: [{ id: undefined, chardev: 'compat_monitor0', pretty: false }, { id: undefined, chardev: 'compat_monitor1', pretty: true }],
    }],
  ])('%j', (argv, expected) => {
    expect(configOf(...argv)).toMatchObject(expected)
  })

  it.each<[string, ChardevConfig]>([
    ['stdio', { label: 'serial0', kind: 'stdio' }],
    ['stdio,signal=on', { label: 'serial0', kind: 'stdio', signal: true }],
    ['pty', { label: 'serial0', kind: 'pty' }],
    ['null', { label: 'serial0', kind: 'null' }],
    ['file:/tmp/a,b=c', { label: 'serial0', kind: 'file', path: '/tmp/a,b=c', append: false }],
    ['file,path=/tmp/a,append=on', { label: 'serial0', kind: 'file', path: '/tmp/a', append: true }],
    ['unix:/tmp/a=b,server', { label: 'serial0', kind: 'socket', address: { unix: '/tmp/a=b' }, server: true, wait: true }],
    ['unix:/tmp/a,,b,server,nowait', { label: 'serial0', kind: 'socket', address: { unix: '/tmp/a,b' }, server: true, wait: false }],
    ['socket,path=/tmp/a,server,nowait', { label: 'serial0', kind: 'socket', address: { unix: '/tmp/a' }, server: true, wait: false }],
    ['tcp::4444,server,nowait', { label: 'serial0', kind: 'socket', address: { host: '0.0.0.0', port: 4444 }, server: true, wait: false }],
    ['tcp:[::1]:4444', { label: 'serial0', kind: 'socket', address: { host: '::1', port: 4444 }, server: false, wait: false }],
    ['{"backend":"socket","host":"h","port":1,"server":true,"wait":false}',
      { label: 'serial0', kind: 'socket', address: { host: 'h', port: 1 }, server: true, wait: false }],
  ])('-serial %s', (text, expected) => {
    expect(configOf('-serial', text).chardevs).toEqual([expected])
  })

  it.each<[string, number[]]>([
    ['4', [4, 4, 1, 1, 1, 4, 1]],
    ['cpus=2,maxcpus=8', [2, 8, 1, 1, 1, 8, 1]],
    ['8,sockets=2', [8, 8, 2, 1, 1, 4, 1]],
    ['8,cores=2', [8, 8, 4, 1, 1, 2, 1]],
    ['8,sockets=2,cores=2', [8, 8, 2, 1, 1, 2, 2]],
    ['sockets=2,cores=3,threads=2', [12, 12, 2, 1, 1, 3, 2]],
    ['16,dies=2,clusters=2,threads=2', [16, 16, 1, 2, 2, 2, 2]],
    ['maxcpus=4', [4, 4, 1, 1, 1, 4, 1]],
    ['254', [254, 254, 1, 1, 1, 254, 1]],
  ])('-smp %s', (text, expected) => {
    const { cpus, maxCpus, sockets, dies, clusters, cores, threads } = configOf('-smp', text).smp
    expect([cpus, maxCpus, sockets, dies, clusters, cores, threads]).toEqual(expected)
  })

  it.each<[string[], AcceleratorName[], string?]>([
    [['-accel', 'kvm'], ['kvm']],
    [['-accel', 'tcg'], ['tcg']],
    [['-enable-kvm'], ['kvm']],
    [['-accel', 'KVM:TCG'], ['kvm', 'tcg']],
    [['-accel', 'kvm', '-accel', 'tcg'], ['kvm', 'tcg']],
    [['-accel', 'tcg:kvm'], ['tcg', 'kvm']],
    [['-accel', 'kvm:tcg:kvm'], ['kvm', 'tcg']],
    [['-machine', 'accel=kvm:tcg'], ['kvm', 'tcg']],
    [['-machine', 'accel=kvm', '-accel', 'tcg'], ['tcg']],
    [['-machine', 'accel=kvm', '-enable-kvm'], ['kvm']],
    [['-enable-kvm', '-accel', 'tcg'], ['kvm', 'tcg']],
    [['-accel', 'kvm,kernel-irqchip=on'], ['kvm']],
    [['-machine', 'accel=kvm,kernel_irqchip=on'], ['kvm']],
    [['-accel', 'kvm:tcg,kernel-irqchip=on'], ['kvm', 'tcg']],
    [['-accel', 'tcg,tb-size=64,split-wx=on'], ['tcg']],
    [['-accel', '{"accel":"kvm:tcg"}'], ['kvm', 'tcg']],
    [['-accel', 'test:tcg'], ['tcg'], '-accel test is not in this version; tcg is used'],
    [['-icount', '3', '-accel', 'tcg'], ['tcg']],
    [['-icount', '3', '-accel', 'kvm:tcg'], ['tcg'], 'accelerator tcg (our software CPU): -icount counts its instructions'],
  ])('%j asks for %j', (argv, candidates, notice) => {
    const { config, notices } = launchOf(...argv, ...KERNEL)
    expect(config.accelerator).toEqual({ candidates, chosenBy: 'user' })
    expect(notices).toEqual(notice === undefined ? [] : [notice])
  })

  it('what the guest does can be told by the software CPU only', () => {
    expect(launchOf('-d', 'int,exec', ...KERNEL)).toMatchObject({ config: { accelerator: { candidates: ['tcg'], log: ['int', 'exec'] } },
      notices: ['accelerator tcg (our software CPU): -d looks into it'] })
  })

  it('without -accel the host decides at the launch, unless instructions are counted', () => {
    expect(launchOf(...KERNEL)).toMatchObject({ config: { accelerator: { candidates: ['kvm', 'tcg'], chosenBy: 'default' } }, notices: [] })
    expect(launchOf('-icount', '3', ...KERNEL)).toMatchObject({ config: { accelerator: { candidates: ['tcg'], chosenBy: 'default' } },
      notices: ['accelerator tcg (our software CPU): -icount counts its instructions'] })
  })

  it('memory beyond the software CPU is kept where kvm may be taken', () => {
    expect(configOf('-m', '4G').memory.size).toBe(4096 * MIB)
    expect(configOf('-m', '4G', '-accel', 'kvm').memory.size).toBe(4096 * MIB)
  })

  it('asks for help or version whatever else is there', () => {
    expect(parseCommandLine(['-device', 'nonsense', '-h']).kind).toBe('help')
    expect(parseCommandLine(['--version']).kind).toBe('version')
    expect(parseCommandLine(['-V']).kind).toBe('version')
    expect(parseCommandLine(['-machine', 'help'])).toMatchObject({ kind: 'option-help', option: { name: 'machine' } })
  })
})

describe('a mistake is one line that says what to do', () => {
  it.each<[string, string, string]>([
    ['', 'OPTION_MISSING', '-machine microvm: needs a kernel; add -kernel FILE'],
    ['-kernel a -kernel b', 'OPTION_REPEATED', '-kernel: is given twice; give it once'],
    ['-S -freeze', 'OPTION_REPEATED', '-S: is given twice; give it once'],
    ['-machine microvm,foo=1', 'OPTION_UNKNOWN', '-machine foo: unknown property; it takes type, accel, kernel-irqchip, hotplug, unpack-kernel, acpi, mem-share or dump-guest-core'],
    ['-machine memshare=on', 'OPTION_UNKNOWN', '-machine memshare: unknown property; did you mean mem-share?'],
    ['-machine acpi=on,acpi=off', 'OPTION_REPEATED', '-machine acpi: is given twice; give it once'],
    ['-machine q35', 'OPTION_LATER', '-machine type=q35: StandardMachines (q35) are not in this version'],
    ['-machine none', 'OPTION_LATER', '-machine type=none: probes without a machine (none) are not in this version'],
    ['-machine microvn', 'OPTION_VALUE', '-machine type=microvn: "microvn" is not known; did you mean microvm?'],
    ['-machine usb=on', 'OPTION_VALUE', '-machine usb=on: only off is supported'],
    ['-machine mem-share=maybe', 'OPTION_VALUE', '-machine mem-share=maybe: must be on or off'],
    ['-accel test', 'OPTION_LATER', '-accel test: device tests without a CPU (test) are not in this version'],
    ['-machine accel=test', 'OPTION_LATER', '-accel test: device tests without a CPU (test) are not in this version'],
    ['-accel hax', 'OPTION_VALUE', '-accel accel=hax: "hax" is not known; use kvm or tcg'],
    ['-accel kvm:', 'OPTION_VALUE', '-accel accel=: the value is empty; use kvm or tcg'],
    ['-accel thread=multi', 'OPTION_MISSING', '-accel: needs accel=; add it'],
    ['-accel kvm,kernel-irqchip=off', 'OPTION_LATER',
      '-accel kernel-irqchip=off: interrupt controllers outside the kernel (kernel-irqchip=off) are not in this version'],
    ['-accel kvm,kernel_irqchip=split', 'OPTION_LATER',
      '-accel kernel-irqchip=split: interrupt controllers half outside the kernel (kernel-irqchip=split) are not in this version'],
    ['-machine kernel_irqchip=split', 'OPTION_LATER',
      '-machine kernel-irqchip=split: interrupt controllers half outside the kernel (kernel-irqchip=split) are not in this version'],
    ['-accel kvm,dirty-ring-size=4096', 'OPTION_LATER', "-accel dirty-ring-size: KVM's dirty rings are not in this version"],
    ['-accel kvm,notify-vmexit=run', 'OPTION_LATER', '-accel notify-vmexit: forced exits (notify-vmexit) are not in this version'],
    ['-accel kvm,device=/dev/kvm2', 'OPTION_LATER', '-accel device: other devices than /dev/kvm are not in this version'],
    ['-accel kvm,kvm-shadow-mem=1M', 'OPTION_LATER', "-accel kvm-shadow-mem: limits on KVM's shadow page tables are not in this version"],
    ['-accel tcg,one-insn-per-tb=on', 'OPTION_LATER', '-accel one-insn-per-tb: blocks of one instruction (one-insn-per-tb) are not in this version'],
    ['-accel kvm,igd-passthru=on', 'OPTION_UNKNOWN', '-accel igd-passthru: unknown property; it takes accel, kernel-irqchip, translator, symbols or thread'],
    ['-accel kvm,thread=multi', 'OPTION_VALUE', '-accel kvm,thread=: thread belongs to tcg; leave it out, or use -accel tcg'],
    ['-accel kvm,tb-size=64', 'OPTION_VALUE', '-accel kvm,tb-size=: tb-size belongs to tcg; leave it out, or use -accel tcg'],
    ['-accel tcg,kernel-irqchip=on', 'OPTION_VALUE', '-accel tcg,kernel-irqchip=: kernel-irqchip belongs to kvm; leave it out, or use -accel kvm'],
    ['-machine accel=tcg,kernel-irqchip=on', 'OPTION_VALUE', '-machine kernel-irqchip=: kernel-irqchip belongs to kvm; leave it out, or use -accel kvm'],
    ['-icount 3 -accel kvm', 'OPTION_CONFLICT',
      '-icount and -accel kvm: a processor does not count instructions into time; use -accel tcg, or leave out -icount'],
    ['-d intt', 'OPTION_VALUE', '-d intt: there is no such item, only int, cpu_reset, in_asm, exec, mmu, guest_errors, jit; did you mean int?'],
    ['-d int,jit -accel kvm', 'OPTION_CONFLICT', '-d and -accel kvm: nobody sees what a processor does; use -accel tcg, or leave out -d'],
    ['-icount 3 -enable-kvm', 'OPTION_CONFLICT',
      '-icount and -accel kvm: a processor does not count instructions into time; use -accel tcg, or leave out -icount'],
    ['-cpu Skylake', 'OPTION_VALUE', '-cpu model=Skylake: "Skylake" is not known; use host or max'],
    ['-smp 0', 'OPTION_VALUE', '-smp cpus=0: must be a whole number between 1 and 254'],
    ['-smp 255', 'OPTION_VALUE', '-smp cpus=255: must be a whole number between 1 and 254'],
    ['-smp 4,maxcpus=2', 'OPTION_CONFLICT', '-smp cpus=4,maxcpus=2: maxcpus must be at least cpus'],
    ['-smp 6,sockets=4', 'OPTION_CONFLICT', '-smp: sockets 4 x dies 1 x clusters 1 x cores 1 x threads 1 = 4 must equal maxcpus 6'],
    ['-smp sockets=254,cores=254', 'OPTION_VALUE', '-smp: the topology has 64516 vCPUs, at most 254 are possible'],
    ['-m 127', 'OPTION_VALUE', '-m size=127: must be between 128M and 512G'],
    ['-m 513G', 'OPTION_VALUE', '-m size=513G: must be between 128M and 512G'],
    ['-accel tcg -m 4G', 'OPTION_VALUE', '-m 4G: the tcg accelerator can give a guest at most 3584M; use -m 3584 or less'],
    ['-m 134217729b', 'OPTION_VALUE', '-m 134217729b: must be a multiple of 4K'],
    ['-m lots', 'OPTION_VALUE', '-m size=lots: not a size; write a number with K, M, G or T, such as 512M'],
    ['-m 256,maxmem=1G', 'OPTION_LATER', '-m maxmem: memory hot-plug devices are not in this version'],
    ['-uuid 1234', 'OPTION_VALUE', '-uuid 1234: not a UUID; write one as 123e4567-e89b-42d3-a456-426614174000'],
    [`-name ${'n'.repeat(256)}`, 'OPTION_VALUE', '-name guest=: the value has 256 bytes, at most 255 are allowed; shorten it'],
    [`-kernel k -append ${'a'.repeat(2048)}`, 'OPTION_VALUE', '-append: the kernel command line has 2048 bytes, Linux takes at most 2047; shorten it'],
    ['-device virtio-mem-device,id=a', 'OPTION_LATER', '-device virtio-mem-device: virtio devices are not in this version'],
    ['-device {"driver":"pcie-root-port"}', 'OPTION_LATER', '-device pcie-root-port: PCI devices are not in this version'],
    ['-device virtio-blk-devise', 'OPTION_UNKNOWN', '-device virtio-blk-devise: not known; did you mean virtio-blk-device?'],
    ['-device {"id":"x"}', 'OPTION_MISSING', '-device: needs a driver; write it first'],
    ['-object iothread,id=i', 'OPTION_LATER', '-object iothread: I/O threads are not in this version'],
    ['-netdev vhost-vdpa,id=x', 'OPTION_LATER', '-netdev vhost-vdpa: network back-ends of this kind are not in this version'],
    ['-vnc :1', 'OPTION_LATER', '-vnc: remote displays are not in this version'],
    ['-display gtk,full-screen=on', 'OPTION_LATER', '-display type=gtk: displays are not in this version'],
    ['-monitor stdio', 'OPTION_LATER', '-monitor type=stdio: readline monitors are not in this version'],
    ['-serial stdio -qmp stdio', 'OPTION_CONFLICT', '-serial stdio and -qmp stdio: only one can own standard input and output; give the other another back-end'],
    ['-serial stdio -chardev stdio,id=c', 'OPTION_CONFLICT', '-serial stdio and -chardev id=c: only one can own standard input and output; give the other another back-end'],
    ['-daemonize -serial stdio', 'OPTION_CONFLICT', '-serial stdio: a daemon has no terminal; leave out -daemonize or use another back-end'],
    ['-serial mon:stdio', 'OPTION_LATER', '-serial mon:stdio: human monitors beside a serial port (mon:) are not in this version'],
    ['-serial vc', 'OPTION_LATER', '-serial vc: virtual consoles are not in this version'],
    ['-serial sdtio', 'OPTION_UNKNOWN', '-serial sdtio: not known; did you mean stdio?'],
    ['-serial chardev:c', 'OPTION_MISSING', '-serial chardev:c: no character device has the id c; add -chardev'],
    ['-serial chardev:c0 -chardev pty,id=c1', 'OPTION_MISSING', '-serial chardev:c0: no character device has the id c0; did you mean c1?'],
    ['-chardev pty,id=c -serial chardev:c -mon c', 'OPTION_CONFLICT',
      '-serial chardev:c and -mon chardev=c: a character device serves one of them; add another, or mux=on'],
    ['-chardev pty,id=c -chardev null,id=c', 'OPTION_CONFLICT', '-chardev id=c: another character device has the id c; use another id'],
    ['-chardev pty', 'OPTION_MISSING', '-chardev pty: needs id=; add it'],
    ['-chardev file,id=c', 'OPTION_MISSING', '-chardev file: needs path=; add it'],
    ['-chardev socket,id=c', 'OPTION_MISSING', '-chardev id=c: a socket needs path=, or host= and port='],
    ['-chardev socket,id=c,path=p,port=1', 'OPTION_CONFLICT', '-chardev id=c: a socket has either path= or host= and port=; leave one out'],
    ['-chardev socket,id=c,path=p,wait=on', 'OPTION_CONFLICT', '-chardev id=c: wait is for servers; add server'],
    ['-chardev socket,id=c,host=h,port=65536', 'OPTION_VALUE', '-chardev socket port=65536: must be a whole number between 0 and 65535'],
    [`-qmp unix:/${'p'.repeat(107)},server,nowait`, 'OPTION_VALUE', '-qmp path=: the value has 108 bytes, at most 107 are allowed; shorten it'],
    ['-qmp tcp:nowhere', 'OPTION_VALUE', '-qmp tcp:nowhere: write tcp:HOST:PORT, an IPv6 address in brackets'],
    ['-qmp unix:a,severy', 'OPTION_UNKNOWN', '-qmp severy: unknown property; did you mean server?'],
    ['-chardev null,id=c -mon c,mode=readline', 'OPTION_LATER', '-mon mode=readline: readline monitors are not in this version'],
    ['-no-reboot -action reboot=reset', 'OPTION_CONFLICT', '-no-reboot and -action reboot=reset: contradict each other; leave one out'],
    ['-action panic=maybe', 'OPTION_VALUE', '-action panic=maybe: "maybe" is not known; use pause, shutdown, exit-failure or none'],
    ['-icount auto', 'OPTION_VALUE', '-icount shift=auto: must be a whole number between 0 and 10'],
    ['-trace events=all', 'OPTION_LATER', '-trace events: trace points are not in this version'],
    ['-incoming tcp:a:1', 'OPTION_LATER', '-incoming: migration and snapshots are not in this version'],
  ])('%.60s', (line, code, message) => {
    const argv = line.split(' ').filter((word) => word !== '')
    const error = refusal(...argv, ...(line === '' || argv.includes('-kernel') ? [] : KERNEL))
    expect([error.code, error.message]).toEqual([code, message])
  })

  it('every option of later work names the work', () => {
    for (const option of OPTIONS) {
      if (option.status?.state !== 'later') continue
      const argv = option.form.kind === 'flag' ? [`-${option.name}`] : [`-${option.name}`, 'x']
      expect(refusal(...argv, ...KERNEL).message).toContain(option.status.work)
    }
  })

  it('every ignored option says why, and is accepted', () => {
    const values: Record<string, string> = { parallel: 'none', net: 'none', nic: 'none', monitor: 'none', display: 'none', vga: 'none' }
    for (const option of OPTIONS) {
      if (option.status?.state !== 'ignored') continue
      expect(option.status.reason).not.toBe('')
      const argv = option.form.kind === 'flag' ? [`-${option.name}`] : [`-${option.name}`, values[option.name] ?? 'x']
      expect(configOf(...argv)).toEqual(configOf())
    }
  })
})

describe('files named on the command line', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-options-'))
  const kernel = path.join(folder, 'vmlinuz')
  fs.writeFileSync(kernel, 'x')
  afterAll(() => fs.rmSync(folder, { recursive: true }))

  it('pass when they are regular files', () => {
    expect(() => checkFiles(launchOf('-kernel', kernel, '-initrd', kernel).config)).not.toThrow()
  })

  it.each<[string, string]>([['missing', 'no such file; check the path'], ['', 'is a folder; give the path of a file'],
    ['vmlinuz/x', 'no such file; check the path']])(
    '"%s" is refused: %s', (name, message) => {
      const file = path.join(folder, name)
      expect(() => checkFiles(launchOf('-kernel', file).config)).toThrowError(`-kernel ${file}: ${message}`)
      expect(() => checkFiles(launchOf('-kernel', kernel, '-initrd', file).config)).toThrowError(`-initrd ${file}: ${message}`)
    })

  it('a device is not a regular file', () => {
    expect(() => checkFiles(launchOf('-kernel', '/dev/null').config)).toThrowError('-kernel /dev/null: is not a regular file; give the path of a file')
  })
})

describe('any input', () => {
  const names = OPTIONS.flatMap((option) => [option.name, ...(option.aliases ?? [])])
  const keys = OPTIONS.flatMap(({ form }) => (form.kind === 'keys' ? form.sub : form.kind === 'variants' ? form.variants.flatMap((variant) => [...form.common, ...variant.sub]) : [])).map((sub) => sub.key)
  const piece = fc.oneof(fc.string({ maxLength: 12 }), fc.constantFrom('on', 'off', 'stdio', 'socket', 'null', 'tcg', 'microvm', '4', '256M',
    'server', 'nowait', 'unix:x', '{"a":1}'),
    fc.tuple(fc.constantFrom(...keys), fc.string({ maxLength: 8 })).map(([key, value]) => `${key}=${value}`))
  const word = fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom(...names).map((name) => `-${name}`) },
    { weight: 3, arbitrary: fc.array(piece, { minLength: 1, maxLength: 4 }).map((pieces) => pieces.join(',')) },
    { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 20 }) },
    { weight: 1, arbitrary: fc.json() },
  )

  it('is understood or refused with a one-line MesovirtError', () => {
    fc.assert(fc.property(fc.array(word, { maxLength: 8 }), (argv) => {
      try {
        parseCommandLine(argv)
      } catch (error) {
        if (!(error instanceof MesovirtError)) throw error
        expect(error.message).toMatch(/^[^\u0000-\u001f]+$/)
        expect(error.message.length).toBeLessThan(1000)
      }
    }), { numRuns: 2000, interruptAfterTimeLimit: 8000 })
  })
})

describe('a configuration written out as a command line', () => {
  const text = fc.string({ minLength: 1, maxLength: 20 }).filter((value) => !value.includes('\0'))
  const file = text.filter((value) => !value.startsWith('-'))
  const label = fc.stringMatching(/^[a-z][a-z0-9._-]{0,10}$/)
  const address = fc.oneof(fc.record({ unix: text }), fc.record({ host: text, port: fc.integer({ min: 1, max: 65535 }) }))
  const chardev = fc.oneof(
    fc.constant({ kind: 'pty' } as const), fc.constant({ kind: 'null' } as const),
    fc.record({ kind: fc.constant('pipe' as const), path: text }), fc.record({ kind: fc.constant('ringbuf' as const), size: fc.constantFrom(1, 4096, 65_536) }),
    fc.record({ kind: fc.constant('null' as const), mux: fc.constant(true), log: fc.record({ path: text, append: fc.boolean() }) }),
    fc.record({ kind: fc.constant('socket' as const), address, server: fc.constant(false), wait: fc.constant(false), reconnectMs: fc.integer({ min: 1, max: 3_600_000 }) }),
    fc.record({ kind: fc.constant('socket' as const), address, server: fc.constant(true), wait: fc.boolean(), replay: fc.integer({ min: 1, max: 2 ** 20 }) }),
    fc.record({ kind: fc.constant('file' as const), path: text, append: fc.boolean() }),
    fc.record({ kind: fc.constant('socket' as const), address, server: fc.boolean(),
      wait: fc.boolean() }).map((socket) => ({ ...socket, wait: socket.server && socket.wait })),
  )
  const count = fc.integer({ min: 1, max: 3 })
  const smp = fc.record({ sockets: count, dies: count, clusters: count, cores: count, threads: count,
    missing: fc.integer({ min: 0, max: 242 }) }).map(({ missing, ...topology }) => {
    const maxCpus = topology.sockets * topology.dies * topology.clusters * topology.cores * topology.threads
    return { cpus: Math.max(1, maxCpus - missing), maxCpus, ...topology }
  })
  const rings = fc.record({ packed: fc.boolean(), indirect: fc.boolean(), eventIndex: fc.boolean() })
  const writeErrors = fc.constantFrom('report', 'ignore', 'stop', 'enospc', undefined)
  const readErrors = fc.constantFrom('report', 'ignore', 'stop', undefined)
  const rate = fc.oneof(fc.record({ average: fc.integer({ min: 1 }) }),
    fc.record({ average: fc.integer({ min: 1, max: 999 }), max: fc.integer({ min: 1000 }), maxSeconds: fc.integer({ min: 1, max: 60 }) }))
  const limits = fc.option(fc.record({ opsTotal: rate, bytesRead: rate, opsSize: fc.integer({ min: 1 }) }, { requiredKeys: ['opsTotal'] }), { nil: undefined })
  const image = fc.record({
    id: text, filename: text, expect: fc.constant('any' as const), isRaw: fc.boolean(), readOnly: fc.boolean(), aio: fc.constantFrom('threads', 'io_uring', 'native'),
    direct: fc.boolean(), noFlush: fc.boolean(), writeCache: fc.boolean(), discard: fc.constantFrom('unmap', 'ignore'), detectZeroes: fc.constantFrom('off', 'on', 'unmap'),
    locking: fc.constantFrom('auto', 'on', 'off'), throttle: limits, throttleGroup: fc.option(text, { nil: undefined }),
    serial: fc.option(fc.stringMatching(/^[a-z]{1,20}$/), { nil: undefined }), onWriteError: writeErrors, onReadError: readErrors,
  }).map((one) => ({ ...one, direct: one.direct || one.aio === 'native' }))
  const sizes = fc.constantFrom(undefined, 512, 4096)
  const disk = fc.record({
    kind: fc.constant('virtio-blk' as const), id: fc.constant(undefined), rings, serial: fc.option(fc.stringMatching(/^[a-z]{1,20}$/), { nil: undefined }),
    queues: fc.integer({ min: 1, max: 32 }), queueSize: fc.constantFrom(4, 256, 1024), logicalBlockSize: sizes, physicalBlockSize: fc.constantFrom(undefined, 4096),
    minIoSize: fc.constantFrom(0, 4096), optIoSize: fc.constantFrom(0, 8192), discardGranularity: fc.constantFrom(0, 4096), discard: fc.boolean(), writeZeroes: fc.boolean(),
    writeCache: fc.constantFrom(true, false, undefined), configWce: fc.boolean(), onWriteError: writeErrors, onReadError: readErrors,
  })
  const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })
  const inNetwork = fc.tuple(fc.integer({ min: 1, max: 223 }), fc.integer({ min: 0, max: 255 })).map(([first, last]) => Uint8Array.of(first, 0, 2, last))
  const userNetwork = fc.record({
    network: inNetwork, ipv4: fc.constant(true), ipv6: fc.boolean(), restricted: fc.boolean(), prefix6: bytes(16), prefix6Length: fc.integer({ min: 0, max: 126 }), host6: bytes(16), dns6: bytes(16),
    hostname: fc.option(text, { nil: undefined }), domainName: fc.option(text, { nil: undefined }), tftp: fc.option(text, { nil: undefined }),
    tftpServerName: fc.option(text, { nil: undefined }), bootFile: fc.option(text, { nil: undefined }), dnsSearch: fc.array(text, { maxLength: 3 }),
  }).map((slirp) => {
    const [first = 0, second = 0, third = 0] = slirp.network
    const host = (last: number) => Uint8Array.of(first, second, third, last)
    return { ...slirp, network: host(0), mask: Uint8Array.of(255, 255, 255, 0), host: host(2), dhcpStart: host(15), dns: host(3) }
  })
  const port = fc.integer({ min: 1, max: 65_535 })
  const forward = fc.record({ protocol: fc.constantFrom('tcp', 'udp'), hostAddress: bytes(4), hostPort: port, guestAddress: bytes(4), guestPort: port })
  const reconnectMs = fc.option(fc.integer({ min: 1, max: 3_600_000 }), { nil: undefined })
  const netdev = fc.oneof(
    fc.record({ kind: fc.constant('user' as const), slirp: userNetwork, forwards: fc.array(forward, { maxLength: 3 }) }),
    fc.record({ kind: fc.constant('stream' as const), address, server: fc.boolean(), reconnectMs }).map((one) => ({ ...one, reconnectMs: one.server ? undefined : one.reconnectMs })),
    fc.record({ kind: fc.constant('stream' as const), address: fc.record({ fd: fc.integer({ min: 0, max: 99 }) }), server: fc.constant(false), reconnectMs: fc.constant(undefined) }),
    fc.record({ kind: fc.constant('tap' as const), fds: fc.uniqueArray(fc.integer({ min: 3, max: 99 }), { maxLength: 3 }), ifname: fc.option(fc.stringMatching(/^[a-z0-9]{1,15}$/), { nil: undefined }),
      queues: fc.integer({ min: 1, max: 16 }), header: fc.constantFrom(true, false, undefined) })
      .map((tap) => tap.fds.length === 0 ? tap : { ...tap, ifname: undefined, queues: tap.fds.length }),
  )
  const card = fc.record({
    kind: fc.constant('virtio-net' as const), id: fc.constant(undefined), rings, mac: fc.option(bytes(6).map((mac) => mac.map((byte, index) => index === 0 ? 2 : byte)), { nil: undefined }), multiQueue: fc.boolean(),
    rxQueueSize: fc.constantFrom(256, 1024), txQueueSize: fc.constantFrom(256, 4096), mtu: fc.option(fc.integer({ min: 68, max: 65_535 }), { nil: undefined }),
    checksum: fc.boolean(), guestChecksum: fc.boolean(), segmentation: fc.boolean(), mergeable: fc.boolean(),
  })
  const arbitrary: fc.Arbitrary<VmConfig> = fc.record({
    machine: fc.record({ type: fc.constant('microvm' as const), acpi: fc.constantFrom('auto', 'on', 'off'), unpackKernel: fc.constantFrom('auto', 'on', 'off'), hotplug: fc.constantFrom('auto', 'on', 'off'), memShare: fc.boolean(),
      dumpGuestCore: fc.boolean() }),
    accelerator: fc.oneof(fc.constant({ candidates: ['kvm', 'tcg'], chosenBy: 'default' } as const),
      fc.record({ candidates: fc.constantFrom<AcceleratorName[]>(['kvm'], ['tcg'], ['kvm', 'tcg'], ['tcg', 'kvm']), chosenBy: fc.constant('user' as const) })),
    cpu: fc.record({ model: fc.constantFrom('host', 'max') }),
    smp,
    memory: fc.record({ size: fc.integer({ min: 32 * 1024, max: 3584 * 256 }).map((pages) => pages * 4096), path: fc.option(file, { nil: undefined }), preallocate: fc.boolean() }),
    boot: fc.record({ kernel: file, initrd: fc.option(file, { nil: undefined }),
      append: fc.string({ maxLength: 30 }).filter((value) => !value.includes('\0')) }),
    chardevs: fc.uniqueArray(fc.tuple(label, chardev), { maxLength: 6,
      selector: ([id]) => id }).map((list): ChardevConfig[] => list.map(([id, config]) => ({ label: id, ...config }))),
    objects: fc.uniqueArray(fc.oneof(fc.record({ kind: fc.constant('rng-random' as const), id: text, filename: text }),
      fc.record({ kind: fc.constant('rng-builtin' as const), id: text })), { maxLength: 3, selector: ({ id }) => id }),
    rngs: fc.uniqueArray(fc.record({
      kind: fc.constant('virtio-rng' as const), id: fc.option(text, { nil: undefined }),
      rings: fc.record({ packed: fc.boolean(), indirect: fc.boolean(), eventIndex: fc.boolean() }),
      limit: fc.option(fc.record({ bytes: fc.integer({ min: 1 }), periodMs: fc.integer({ min: 1 }) }), { nil: undefined }),
    }), { maxLength: 4, selector: ({ id }) => id ?? {} }),
    controllers: fc.array(fc.record({
      kind: fc.constant('virtio-serial' as const), id: fc.constant(undefined), rings, maxPorts: fc.integer({ min: 4, max: 31 }), isConsole: fc.boolean(), name: fc.option(text, { nil: undefined }),
    }), { maxLength: 1 }),
    images: fc.uniqueArray(image, { maxLength: 5, selector: ({ id }) => id }),
    disks: fc.array(disk, { maxLength: 4 }),
    netdevs: fc.uniqueArray(fc.tuple(text, netdev).map(([id, one]): NetdevConfig => ({ id, ...one })), { maxLength: 3, selector: ({ id }) => id }),
    cards: fc.array(card, { maxLength: 2 }),
    name: fc.option(text, { nil: undefined }),
    uuid: fc.option(fc.uuid(), { nil: undefined }),
    startPaused: fc.boolean(), daemonize: fc.boolean(), pidFile: fc.option(file, { nil: undefined }),
    log: fc.oneof(fc.constant({ kind: 'none' } as const), fc.constant({ kind: 'stderr' } as const),
      fc.record({ kind: fc.constant('file' as const), path: file })),
    actions: fc.record({ reboot: fc.constantFrom('reset', 'shutdown'), shutdown: fc.constantFrom('poweroff', 'pause'),
      panic: fc.constantFrom('pause', 'shutdown', 'exit-failure', 'none', undefined) }),
    clock: fc.oneof(fc.constant({ kind: 'host' } as const), fc.record({ kind: fc.constant('instruction-count' as const),
      shift: fc.integer({ min: 0, max: 10 }), sleep: fc.boolean() })),
    trace: fc.constantFrom<('boot')[]>([], ['boot']),
    pretty: fc.boolean(),
  }).map(({ pretty, rngs, controllers, disks, cards, ...rest }) => ({
    ...rest,
    devices: [
      ...rngs.map((device, index) => ({ ...device, rng: rest.objects[index]?.id })),
      ...controllers.map(({ isConsole, name, ...controller }) => ({
        ...controller, ports: rest.chardevs.slice(3).map((config, index) => ({ id: undefined, isConsole, chardev: config.label, name, nr: index + 1 })),
      })),
      ...rest.images.slice(0, disks.length).map(({ id }, index) => ({ ...(disks[index] as (typeof disks)[number]), drive: id })),
      ...rest.netdevs.slice(0, cards.length).map(({ id }, index) => ({ ...(cards[index] as (typeof cards)[number]), netdev: id })),
    ],
    // Counted time leaves the software CPU only.
    accelerator: rest.clock.kind === 'host' ? rest.accelerator : { candidates: ['tcg'] as const, chosenBy: rest.accelerator.chosenBy },
    serial: rest.chardevs[0]?.label,
    monitors: rest.chardevs.slice(1, 3).map((config, index) => ({ id: index === 0 ? 'monitor' : undefined, chardev: config.label, pretty })),
  }))

  it('parses back to itself', () => {
    fc.assert(fc.property(arbitrary, (config) => {
      // -append "-S" would be an option: a kernel command line that is exactly an option name cannot be written.
      fc.pre(!OPTIONS.some((option) => [option.name, ...(option.aliases ?? [])].some((name) => [`-${name}`, `--${name}`,
        '--'].includes(config.boot.append))))
      expect(launchOf(...renderArguments(config)).config).toEqual(config)
    }), { numRuns: 500, interruptAfterTimeLimit: 8000 })
  })
})
