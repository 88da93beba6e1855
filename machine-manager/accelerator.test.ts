import { describe, expect, it } from 'vitest'
import { MesovirtError } from '../host/errors.ts'
import type { KvmHost } from '../host/kvm-device.ts'
import type { HypervisorOptions } from '../hypervisor/hypervisor.ts'
import { buildOnAccelerator, decideAccelerator } from './accelerator.ts'
import type { AcceleratorFactory, KvmFacts } from './accelerator.ts'
import type { AcceleratorConfig, AcceleratorName } from './options/config.ts'

const GIB = 2 ** 30
const HOST: KvmHost = { platform: 'linux', arch: 'x64', virtualization: 'svm', modules: ['kvm', 'kvm_amd'], node: undefined }
const SVM: KvmFacts = { host: HOST, problem: undefined }
const PVM: KvmFacts = { host: { ...HOST, virtualization: 'none', modules: ['kvm', 'kvm_pvm'] }, problem: undefined }
const NONE: KvmFacts = { host: HOST, problem: { what: 'there is no /dev/kvm' } }

const BY_DEFAULT: AcceleratorConfig = { candidates: ['kvm', 'tcg'], chosenBy: 'default' }
const asked = (...candidates: AcceleratorName[]): AcceleratorConfig => ({ candidates, chosenBy: 'user' })

describe('the rule', () => {
  it.each<[string, AcceleratorConfig, KvmFacts, AcceleratorName[], string | undefined]>([
    ['nothing asked, hardware', BY_DEFAULT, SVM, ['kvm', 'tcg'], 'the processor has svm and /dev/kvm opens'],
    ['nothing asked, no device', BY_DEFAULT, NONE, ['tcg'], 'there is no /dev/kvm'],
    ['nothing asked, PVM', BY_DEFAULT, PVM, ['tcg'],
      'no hardware virtualization is behind /dev/kvm here (PVM), and stock kernels do not run on it (-accel kvm tries all the same)'],
    ['kvm:tcg, hardware', asked('kvm', 'tcg'), SVM, ['kvm', 'tcg'], undefined],
    ['kvm:tcg, no device', asked('kvm', 'tcg'), NONE, ['tcg'], 'there is no /dev/kvm'],
    ['kvm:tcg, PVM', asked('kvm', 'tcg'), PVM, ['tcg'],
      'no hardware virtualization is behind /dev/kvm here (PVM), and stock kernels do not run on it (-accel kvm tries all the same)'],
    ['kvm is obeyed on PVM', asked('kvm'), PVM, ['kvm'], undefined],
    ['kvm is tried without a device, for its error', asked('kvm'), NONE, ['kvm'], undefined],
    ['tcg', asked('tcg'), SVM, ['tcg'], undefined],
    ['tcg:kvm', asked('tcg', 'kvm'), SVM, ['tcg'], undefined],
  ])('%s', (_, config, facts, order, why) => {
    expect(decideAccelerator(config, facts)).toEqual({ order, why })
  })
})

describe('a machine', () => {
  /** Builds a machine that is the name of its accelerator. `fails`: what the constructor of kvm throws. */
  async function build(config: AcceleratorConfig, { facts = SVM, fails, memory = GIB }: { facts?: KvmFacts; fails?: Error; memory?: number } = {}) {
    const notices: string[] = []
    const loaded: AcceleratorName[] = []
    const load = async (name: AcceleratorName): Promise<AcceleratorFactory> => {
      loaded.push(name)
      return () => {
        if (name === 'kvm' && fails !== undefined) throw fails
        return { kind: name } as ReturnType<AcceleratorFactory>
      }
    }
    const machine = await buildOnAccelerator(config, { memory, notice: (line) => notices.push(line), facts: () => facts, load },
      (create) => create({} as HypervisorOptions).kind)
    return { machine, notices, loaded }
  }

  it('runs on hardware, and says why', async () => {
    expect(await build(BY_DEFAULT)).toEqual({ machine: 'kvm', loaded: ['kvm'],
      notices: ['accelerator kvm (hardware virtualization): the processor has svm and /dev/kvm opens'] })
  })

  it('runs on the software CPU without /dev/kvm, and says why', async () => {
    expect(await build(BY_DEFAULT, { facts: NONE })).toEqual({ machine: 'tcg', loaded: ['tcg'],
      notices: ['accelerator tcg (our software CPU): there is no /dev/kvm; mesovirt doctor says more'] })
  })

  it.each([[asked('kvm', 'tcg'), 'kvm'], [asked('kvm'), 'kvm'], [asked('tcg'), 'tcg'], [asked('tcg', 'kvm'), 'tcg']] as const)(
    '%j is obeyed without a word', async (config, machine) => {
      expect(await build(config)).toMatchObject({ machine, notices: [] })
    })

  it.each<[string, string, string]>([
    ['KVM_BUSY', '-accel kvm: virtualization is busy; end its machines, or use -accel tcg', 'virtualization is busy'],
    ['KVM_CAPABILITY', "the kernel's KVM lacks KVM_CAP_IRQFD (interrupts by eventfd); use a newer kernel, or -accel tcg",
      "the kernel's KVM lacks KVM_CAP_IRQFD (interrupts by eventfd)"],
    ['FFI_MISSING', 'koffi is not installed; install it with: npm install koffi', 'koffi is not installed; install it with: npm install koffi'],
  ])('falls back when kvm turns out to be unusable: %s', async (code, message, why) => {
    for (const config of [BY_DEFAULT, asked('kvm', 'tcg')]) {
      expect(await build(config, { fails: new MesovirtError(code, message) })).toEqual({ machine: 'tcg', loaded: ['kvm', 'tcg'],
        notices: [`accelerator tcg (our software CPU): ${why}; mesovirt doctor says more`] })
    }
  })

  it('kvm alone never falls back', async () => {
    await expect(build(asked('kvm'), { fails: new MesovirtError('KVM_BUSY', 'busy') })).rejects.toThrow('busy')
  })

  it.each([new MesovirtError('KVM_MEMORY', 'no memory'), new Error('a defect')])('does not fall back on %s', async (fails) => {
    await expect(build(BY_DEFAULT, { fails })).rejects.toBe(fails)
  })

  it('memory beyond the software CPU needs kvm, and the error says why there is none', async () => {
    expect(await build(BY_DEFAULT, { memory: 4 * GIB })).toMatchObject({ machine: 'kvm' })
    await expect(build(BY_DEFAULT, { memory: 4 * GIB, facts: NONE })).rejects.toThrow('-m 4G: the tcg accelerator can give a guest at most 3584M, '
      + 'and it is taken since there is no /dev/kvm; use -m 3584 or less')
    await expect(build(asked('tcg', 'kvm'), { memory: 4 * GIB })).rejects.toThrow('-m 4G: the tcg accelerator can give a guest at most 3584M; use -m 3584 or less')
  })
})
