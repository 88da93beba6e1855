/** The line about an exit that cannot be answered. Linux Documentation/virt/kvm/api.rst, section 5. No /dev/kvm needed. */
import { describe, expect, it } from 'vitest'
import { describeExit } from './describe-exit.ts'

const EXIT_REASON = 8, UNION = 32
const UNKNOWN = 0, EXCEPTION = 1, FAIL_ENTRY = 9, INTERNAL_ERROR = 17, SYSTEM_EVENT = 24

function runWith(reason: number, fill: (union: DataView) => void = () => undefined): DataView {
  const run = new DataView(new ArrayBuffer(4096))
  run.setUint32(EXIT_REASON, reason, true)
  fill(new DataView(run.buffer, UNION))
  return run
}

describe('an exit without an answer', () => {
  it('an internal error tells its kind and data', () => {
    const text = describeExit(runWith(INTERNAL_ERROR, (union) => {
      union.setUint32(0, 3, true)
      union.setUint32(4, 2, true)
      union.setBigUint64(8, 0x8000_0b0en, true)
      union.setBigUint64(16, 0x31n, true)
    }))
    expect(text).toBe('KVM_EXIT_INTERNAL_ERROR: suberror 3 (an exit while an event was delivered), data 0x80000b0e 0x31')
  })

  it('a failed emulation tells the bytes of the instruction, where the kernel gives them', () => {
    const emulation = (flags: bigint) => describeExit(runWith(INTERNAL_ERROR, (union) => {
      union.setUint32(0, 1, true)
      union.setUint32(4, 3, true)
      union.setBigUint64(8, flags, true)
      union.setUint8(16, 3) // instruction size
      ;[0x0f, 0xae, 0x03, 0xcc].forEach((byte, at) => union.setUint8(17 + at, byte))
    }))
    expect(emulation(1n)).toContain('suberror 1 (the kernel cannot emulate an instruction), instruction 0f ae 03, data')
    expect(emulation(0n)).not.toContain('instruction 0f')
  })

  it('more data than the structure holds is cut at its end', () => {
    const text = describeExit(runWith(INTERNAL_ERROR, (union) => {
      union.setUint32(0, 99, true)
      union.setUint32(4, 0xffff_ffff, true)
      union.setBigUint64(8 + 16 * 8, 0xbadn, true)
    }))
    expect(text).toContain('suberror 99 (unknown), data ')
    expect(text.match(/0x/g)).toHaveLength(16)
    expect(text).not.toContain('bad')
  })

  it('an internal error without data', () => {
    expect(describeExit(runWith(INTERNAL_ERROR, (union) => union.setUint32(0, 2, true)))).toBe('KVM_EXIT_INTERNAL_ERROR: suberror 2 (simultaneous exceptions)')
  })

  it('a refused entry tells the reason of the hardware and the processor', () => {
    const text = describeExit(runWith(FAIL_ENTRY, (union) => {
      union.setBigUint64(0, 0x8000_0021n, true)
      union.setUint32(8, 5, true)
    }))
    expect(text).toBe('KVM_EXIT_FAIL_ENTRY: the processor refused to enter the guest, reason 0x80000021, on host processor 5')
  })

  it.each([
    [runWith(UNKNOWN, (union) => union.setBigUint64(0, 0x41n, true)), 'KVM_EXIT_UNKNOWN: hardware exit reason 0x41'],
    [runWith(SYSTEM_EVENT, (union) => union.setUint32(0, 3, true)), 'KVM_EXIT_SYSTEM_EVENT: event 3'],
    [runWith(EXCEPTION), 'KVM_EXIT_EXCEPTION'],
    [runWith(4711), 'exit reason 4711'],
  ])('others are named (%#)', (run, text) => {
    expect(describeExit(run)).toBe(text)
  })

  it('is always one line', () => {
    for (let reason = 0; reason < 64; reason++) expect(describeExit(runWith(reason, (union) => {
      for (let at = 0; at < 256; at++) union.setUint8(at, 0xff)
    }))).not.toContain('\n')
  })
})
