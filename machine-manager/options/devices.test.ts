import { describe, expect, it } from 'vitest'
import type { RngConfig, VmConfig } from './config.ts'
import { parseCommandLine } from './parse.ts'
import { peerSocket } from './vhost-user.ts'

const KERNEL = ['-kernel', 'vmlinuz']
const FOLDER = '-chardev socket,id=c,path=/a -device vhost-user-fs-device,chardev=c'
const ALL_RINGS = { packed: true, indirect: true, eventIndex: true }

function configOf(line: string): VmConfig {
  const command = parseCommandLine([...line.split(' '), ...KERNEL])
  if (command.kind !== 'launch') throw new Error('no launch')
  return command.config
}

const rngsOf = (line: string) => configOf(line).devices as readonly RngConfig[]

describe('-object and -device', () => {
  it('make an entropy device as Kata Containers asks for it', () => {
    const { objects, devices } = configOf('-object rng-random,id=objrng0,filename=/dev/urandom -device virtio-rng-device,rng=objrng0,id=virtio-rng0')
    expect(objects).toEqual([{ kind: 'rng-random', id: 'objrng0', filename: '/dev/urandom' }])
    expect(devices).toEqual([{ kind: 'virtio-rng', id: 'virtio-rng0', rng: 'objrng0', rings: ALL_RINGS, limit: undefined }])
  })

  it('may come in any order, with and without an id', () => {
    const devices = rngsOf('-device virtio-rng-device,rng=r -object rng-random,id=r -device virtio-rng-device')
    expect(devices.map(({ id, rng }) => [id, rng])).toEqual([[undefined, 'r'], [undefined, undefined]])
  })

  it('read QEMU\'s JSON form', () => {
    const config = configOf('-object {"qom-type":"rng-builtin","id":"r"} -device {"driver":"virtio-rng-device","rng":"r","max-bytes":1024,"period":1000}')
    expect(config.objects).toEqual([{ kind: 'rng-builtin', id: 'r' }])
    expect((config.devices[0] as RngConfig).limit).toEqual({ bytes: 1024, periodMs: 1000 })
  })

  it('limit the rate: a period has 65536 ms unless it is given', () => {
    expect(rngsOf('-device virtio-rng-device,max-bytes=64')[0]?.limit).toEqual({ bytes: 64, periodMs: 65536 })
  })

  it('choose what rings may be like', () => {
    const { devices } = configOf('-device virtio-rng-device,packed=off,indirect_desc=false,event_idx=no')
    expect(devices[0]?.rings).toEqual({ packed: false, indirect: false, eventIndex: false })
  })

  it('make a memory balloon, in the spellings of StratoVirt and QEMU', () => {
    const balloon = { kind: 'virtio-balloon', id: 'b0', rings: ALL_RINGS, balloon: { deflateOnOom: true, freePageReporting: true } }
    expect(configOf('-device virtio-balloon-device,id=b0,deflate-on-oom=true,free-page-reporting=on').devices).toEqual([balloon])
    expect(configOf('-device {"driver":"virtio-balloon","id":"b0","deflate-on-oom":true,"free-page-reporting":true}').devices).toEqual([balloon])
  })

  it('make a socket device', () => {
    expect(configOf('-device virtio-vsock,guest-cid=3,path=/run/vm.vsock,id=v').devices).toEqual([{ kind: 'virtio-vsock', id: 'v', rings: ALL_RINGS, guestCid: 3, path: '/run/vm.vsock' }])
  })

  it.each([
    ['-device virtio-vsock-device,path=/a', 'OPTION_MISSING', '-device virtio-vsock-device: needs guest-cid=; add it'],
    ['-device virtio-vsock-device,guest-cid=3', 'OPTION_MISSING', '-device virtio-vsock-device: needs path=; add it'],
    ['-device virtio-vsock-device,guest-cid=2,path=/a', 'OPTION_VALUE', /guest-cid=2/],
    ['-device virtio-vsock-device,guest-cid=4294967295,path=/a', 'OPTION_VALUE', /guest-cid=4294967295/],
    [`-device virtio-vsock-device,guest-cid=3,path=/${'a'.repeat(96)}`, 'OPTION_VALUE', '-device virtio-vsock-device path=: is longer than 96 bytes, which leaves no room for _PORT behind it; use a shorter one'],
    ['-device virtio-vsock-device,guest-cid=3,path=/a -device virtio-vsock-device,guest-cid=4,path=/b', 'OPTION_CONFLICT',
      '-device virtio-vsock-device: is given 2 times, and a guest can use one; leave the others out'],
    ['-device vhost-vsock-device,id=vsock-id,guest-cid=3041233,vhostfd=3', 'OPTION_LATER', /^-device vhost-vsock-device: .* are not in this version; use virtio-vsock-device,guest-cid=N,path=FILE, which has unix sockets in their place$/],
  ])('refuse the socket device %s', (line, code, message) => {
    expect(() => configOf(line)).toThrow(expect.objectContaining({ code, message: typeof message === 'string' ? message : expect.stringMatching(message) }))
  })

  it('make a shared folder as Kata Containers asks for it: its socket is no server of ours', () => {
    const { devices, chardevs } = configOf('-machine microvm,mem-share=on -chardev socket,id=virtio_fs,path=/run/fs.sock,server,nowait -device vhost-user-fs-device,chardev=virtio_fs,tag=kataShared,id=virtio-fs0')
    expect(devices).toEqual([{ kind: 'vhost-user-fs', id: 'virtio-fs0', rings: ALL_RINGS, chardev: 'virtio_fs', tag: 'kataShared', requestQueues: 1, queueSize: 128 }])
    expect(peerSocket(chardevs, 'virtio_fs', '').path).toBe('/run/fs.sock')
  })

  it.each([
    [`${FOLDER},tag=${'x'.repeat(37)}`, 'OPTION_VALUE', '-device vhost-user-fs-device tag=: the value has 37 bytes, at most 36 are allowed; shorten it'],
    [`${FOLDER},tag=t`, 'OPTION_MISSING', '-device vhost-user-fs-device: the back end has to map the memory of the guest; add -machine mem-share=on'],
    [`-machine mem-share=on ${FOLDER},tag=t,queue-size=100`, 'OPTION_VALUE', '-device vhost-user-fs-device queue-size=100: is no power of two; use 128, 256, 512 or 1024'],
    ['-machine mem-share=on -device vhost-user-fs-device,chardev=c,tag=t', 'OPTION_MISSING', '-device vhost-user-fs-device chardev=c: no character device has the id c; add -chardev'],
    ['-machine mem-share=on -chardev pty,id=c -device vhost-user-fs-device,chardev=c,tag=t', 'OPTION_VALUE',
      '-device vhost-user-fs-device chardev=c: is no unix socket of its own; use -chardev socket,id=...,path=...'],
    [`-machine mem-share=on ${FOLDER},tag=t -serial chardev:c`, 'OPTION_CONFLICT', /a character device serves one of them; add another, or mux=on$/],
    [`-machine mem-share=on ${FOLDER},tag=t -chardev socket,id=d,path=/b -device vhost-user-fs-device,chardev=d,tag=t`, 'OPTION_CONFLICT',
      '-device vhost-user-fs-device tag=t: another folder has this tag; use another one'],
  ])('refuse the folder %s', (line, code, message) => {
    expect(() => configOf(line)).toThrow(expect.objectContaining({ code, message: typeof message === 'string' ? message : expect.stringMatching(message) }))
  })

  it.each([
    ['-device virtio-balloon-device -device virtio-balloon-device,id=b', 'OPTION_CONFLICT', '-device virtio-balloon-device: is given 2 times, and a machine has one; leave the others out'],
    ['-device virtio-rng-device,rng=x', 'OPTION_MISSING', '-device virtio-rng-device rng=x: no object has this id; add -object rng-random,id=...'],
    ['-device virtio-rng-device,rng=rng1 -object rng-builtin,id=rng0', 'OPTION_MISSING', '-device virtio-rng-device rng=rng1: no object has this id; did you mean rng0?'],
    ['-object rng-random', 'OPTION_MISSING', '-object rng-random: needs id=; add it'],
    ['-object rng-builtin,id=a -object rng-random,id=a', 'OPTION_CONFLICT', '-object id=a: another one has this id; use another id'],
    ['-device virtio-rng-device,id=a -device virtio-rng-device,id=a', 'OPTION_CONFLICT', '-device id=a: another one has this id; use another id'],
    ['-device virtio-rng-device,period=5', 'OPTION_MISSING', '-device virtio-rng-device period=: a period limits nothing without max-bytes=; add it'],
    ['-device virtio-rng-device,max-bytes=0', 'OPTION_VALUE', '-device virtio-rng-device max-bytes=0: must be a whole number between 1 and 9007199254740991'],
    ['-device virtio-rng-device,bus=pcie.0', 'OPTION_UNKNOWN',
      '-device virtio-rng-device bus: unknown property; it takes id, packed, indirect_desc, event_idx, rng, max-bytes or period'],
    ['-device virtio-rng-pci', 'OPTION_LATER', '-device virtio-rng-pci: virtio devices are not in this version'],
    [Array.from({ length: 6 }, () => '-device virtio-rng-device').join(' '), 'OPTION_VALUE',
      '-device: 6 devices beside disks and network cards are given, 5 are possible; leave some out'],
  ])('refuse %s', (line, code, message) => {
    expect(() => configOf(line)).toThrow(expect.objectContaining({ code, message }))
  })
})
