/** An exit that this accelerator cannot answer, as a line for whoever looks for the cause. Linux Documentation/virt/kvm/api.rst, section 5. */
import {
  EXIT_FAIL_ENTRY, EXIT_INTERNAL_ERROR, EXIT_NAMES, EXIT_SYSTEM_EVENT, EXIT_UNKNOWN, RUN_EXIT, RUN_EXIT_REASON, RUN_HARDWARE_REASON, RUN_SUBERROR, RUN_SUBERROR_DATA, RUN_SUBERROR_WORDS,
  RUN_SYSTEM_EVENT, SUBERROR_EMULATION, SUBERROR_NAMES,
} from './abi.ts'

const MAX_WORDS = 16
const FLAG_INSTRUCTION_BYTES = 1n
const INSTRUCTION_SIZE = 48, INSTRUCTION_BYTES = 49, MAX_INSTRUCTION = 15

export function describeExit(run: DataView): string {
  const reason = run.getUint32(RUN_EXIT_REASON, true)
  const name = EXIT_NAMES[reason] ?? `exit reason ${reason}`
  switch (reason) {
    case EXIT_INTERNAL_ERROR: return `${name}: ${internalError(run)}`
    case EXIT_FAIL_ENTRY: return `${name}: the processor refused to enter the guest, reason 0x${run.getBigUint64(RUN_HARDWARE_REASON, true).toString(16)}, on host processor ${run.getUint32(RUN_EXIT + 8, true)}`
    case EXIT_UNKNOWN: return `${name}: hardware exit reason 0x${run.getBigUint64(RUN_HARDWARE_REASON, true).toString(16)}`
    case EXIT_SYSTEM_EVENT: return `${name}: event ${run.getUint32(RUN_SYSTEM_EVENT, true)}`
    default: return name
  }
}

function internalError(run: DataView): string {
  const suberror = run.getUint32(RUN_SUBERROR, true)
  const words = Math.min(run.getUint32(RUN_SUBERROR_WORDS, true), MAX_WORDS)
  const name = SUBERROR_NAMES[suberror] ?? 'unknown'
  const data = Array.from({ length: words }, (_, index) => run.getBigUint64(RUN_SUBERROR_DATA + index * 8, true))
  const bytes = suberror === SUBERROR_EMULATION && ((data[0] ?? 0n) & FLAG_INSTRUCTION_BYTES) !== 0n ? instructionBytes(run) : ''
  const list = data.length === 0 ? '' : `, data ${data.map((word) => `0x${word.toString(16)}`).join(' ')}`
  return `suberror ${suberror} (${name})${bytes}${list}`
}

function instructionBytes(run: DataView): string {
  const count = Math.min(run.getUint8(INSTRUCTION_SIZE), MAX_INSTRUCTION)
  const bytes = Array.from({ length: count }, (_, index) => run.getUint8(INSTRUCTION_BYTES + index).toString(16).padStart(2, '0'))
  return `, instruction ${bytes.join(' ')}`
}
