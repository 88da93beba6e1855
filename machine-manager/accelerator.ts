/**
 * Which accelerator runs a machine. The rule is pure (`decideAccelerator`); around it, the host is asked, and the candidates are tried in order:
 * kvm may still turn out to lack something when it is set up. The rule in words: docs/kvm.md.
 */
import type { Hypervisor, HypervisorOptions } from '../hypervisor/hypervisor.ts'
import { MesovirtError } from '../host/errors.ts'
import { KVM_DEVICE, kvmKind, probeKvm, readKvmHost } from '../host/kvm-device.ts'
import type { KvmHost } from '../host/kvm-device.ts'
import type { AcceleratorConfig, AcceleratorName } from './options/config.ts'
import { writeLines } from './log.ts'
import { checkTcgMemory } from './options/validate.ts'

export type AcceleratorFactory = (options: HypervisorOptions) => Hypervisor

/** What the host says about kvm: what is there, and why it cannot be used; undefined when it can. */
export interface KvmFacts { readonly host: KvmHost; readonly problem: { readonly what: string } | undefined }

export interface AcceleratorDecision {
  /** To be tried in this order; never empty. */
  readonly order: readonly AcceleratorName[]
  /** Why the first of them is taken, where the user left the choice to us: part of a sentence. */
  readonly why: string | undefined
}

const FULL_NAMES: Readonly<Record<AcceleratorName, string>> = { kvm: 'kvm (hardware virtualization)', tcg: 'tcg (our software CPU)' }
/** After these kvm works no better at the next attempt, and the next candidate may. Anything else ends the launch. */
const UNUSABLE = new Set(['KVM_MISSING', 'KVM_DENIED', 'KVM_BUSY', 'KVM_FAILED', 'KVM_CAPABILITY', 'FFI_MISSING', 'FFI_BROKEN'])

/** Which and why, as a line for people. */
export function acceleratorLine(name: AcceleratorName, why: string): string {
  return `accelerator ${FULL_NAMES[name]}: ${why}`
}

/**
 * Applies the rule. kvm alone is obeyed as it is. Where there is a choice, kvm is passed over if it cannot be used, and where no hardware is behind
 * it: guest kernel code runs in the host's instruction emulator there, slower than in ours, and stock kernels die of instructions that it lacks.
 */
export function decideAccelerator({ candidates, chosenBy }: AcceleratorConfig, { host, problem }: KvmFacts): AcceleratorDecision {
  const [first] = candidates
  if (first !== 'kvm' || candidates.length === 1) return { order: candidates.slice(0, 1), why: undefined }
  const others = candidates.slice(1)
  if (problem !== undefined) return { order: others, why: problem.what }
  const kind = kvmKind(host)
  if (kind === 'pvm') {
    return { order: others, why: `no hardware virtualization is behind ${KVM_DEVICE} here (PVM), and stock kernels do not run on it (-accel kvm tries all the same)` }
  }
  return { order: candidates, why: chosenBy === 'default' ? `the processor has ${kind} and ${KVM_DEVICE} opens` : undefined }
}

export interface AcceleratorChoice {
  /** Bytes of guest memory. */
  readonly memory: number
  /** Takes the line that says which accelerator is used and why. */
  readonly notice: (line: string) => void
  /** The host; by default the one this runs on. Asked only where there is a choice. */
  readonly facts?: (() => KvmFacts) | undefined
  readonly load?: ((name: AcceleratorName) => Promise<AcceleratorFactory>) | undefined
}

/**
 * Builds a machine on the first accelerator that works.
 * @param build makes the machine; the accelerator's constructor is the first thing in it that can fail
 * @throws MesovirtError of the last candidate, or what `build` throws
 */
export async function buildOnAccelerator<Machine>(config: AcceleratorConfig, choice: AcceleratorChoice,
  build: (accelerator: AcceleratorFactory) => Machine): Promise<Machine> {
  const { facts = askHost, load = loadAccelerator, memory, notice } = choice
  const open = config.candidates.length > 1
  let { order, why } = open ? decideAccelerator(config, facts()) : { order: config.candidates, why: undefined }
  for (;;) {
    const name = order[0] ?? 'tcg'
    if (name === 'tcg' && open) checkTcgMemory(memory, why)
    try {
      const accelerator = await load(name)
      const { translator, symbols, log, threads } = config
      const machine = build((options) => accelerator({
        ...options, ...translator === undefined ? {} : { translator }, ...symbols === undefined ? {} : { symbols },
        ...log === undefined ? {} : { log: { items: log, write: writeLines } }, ...threads === undefined ? {} : { threads },
      }))
      if (why !== undefined) notice(`${acceleratorLine(name, why)}${name === 'kvm' ? '' : '; mesovirt doctor says more'}`)
      return machine
    } catch (error) {
      if (order.length < 2 || !(error instanceof MesovirtError) || !UNUSABLE.has(error.code)) throw error
      order = order.slice(1)
      why = withoutAdvice(error.message)
    }
  }
}

/** Facts of this host. Opens the device for a moment. */
export function askHost(): KvmFacts {
  const host = readKvmHost()
  return { host, problem: probeKvm(host) }
}

/** What happened, without what an error of kvm advises: the advice has been followed by then. */
function withoutAdvice(message: string): string {
  return message.replace(/^-accel kvm: /, '').replace(/;[^;]*-accel tcg$/, '')
}

async function loadAccelerator(name: AcceleratorName): Promise<AcceleratorFactory> {
  switch (name) {
    case 'kvm': {
      const { KvmHypervisor } = await import('../hypervisor/kvm/kvm-hypervisor.ts')
      return (options) => new KvmHypervisor(options)
    }
    case 'tcg': {
      const { TcgHypervisor } = await import('../hypervisor/tcg/tcg-hypervisor.ts')
      return (options) => new TcgHypervisor(options)
    }
  }
}
