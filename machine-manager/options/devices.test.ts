import { describe, expect, it } from 'vitest'
import type { RngConfig, VmConfig } from './config.ts'
import { parseCommandLine } from './parse.ts'

const KERNEL = ['-kernel', 'vmlinuz']
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
