/** The arguments of `npm run test:kvm`: a few of its own, first; all others go to vitest. */
import { MesovirtError } from '../../host/errors.ts'

export interface LabOptions {
  readonly where: 'auto' | 'lab' | 'direct'
  readonly task: { readonly kind: 'tests'; readonly vitest: readonly string[] } | { readonly kind: 'shell' } | { readonly kind: 'exec'; readonly command: readonly string[] } | { readonly kind: 'help' }
  /** undefined: as many as fit where all tests run, else one */
  readonly labs: number | undefined
  readonly cpus: number
  readonly memoryMb: number
  readonly timeLimitMinutes: number
}

export const USAGE = `usage: npm run test:kvm -- [options] [arguments of vitest, e.g. a file or -t 'part of a name']

Runs the tests on KVM: on this machine's where its processor offers it, else in a virtual machine made for it (the lab).

  --lab              in the lab, whatever this machine offers
  --direct           on this machine's /dev/kvm, whatever its kind
  --shell            an interactive shell in the lab (Ctrl-A x kills it)
  --exec COMMAND...  one command in the lab, e.g. --exec node dist/mesovirt.js -version
  --cpus N           processors of the lab (1)
  --memory MB        memory of the lab (3072)
  --labs N           labs at a time, among which the tests are divided (as many as fit, up to 3, when all tests run; else 1)
  --time-limit MIN   a lab that takes longer is ended and has failed (90)
`

const NUMBERS = { '--cpus': [1, 64], '--labs': [1, 16], '--memory': [512, 1_048_576], '--time-limit': [1, 10_000] } as const

/** @throws MesovirtError LAB_OPTION */
export function parseOptions(args: readonly string[]): LabOptions {
  let where: LabOptions['where'] = 'auto'
  const numbers: Record<keyof typeof NUMBERS, number> = { '--labs': 0, '--cpus': 1, '--memory': 3072, '--time-limit': 90 }
  const result = (task: LabOptions['task']): LabOptions =>
    ({ where, task, labs: numbers['--labs'] || undefined, cpus: numbers['--cpus'], memoryMb: numbers['--memory'], timeLimitMinutes: numbers['--time-limit'] })
  for (let index = 0; index < args.length; index++) {
    const argument = args[index] as string
    if (argument === '--lab' || argument === '--direct') {
      where = argument === '--lab' ? 'lab' : 'direct'
    } else if (argument === '--help') {
      return result({ kind: 'help' })
    } else if (argument === '--shell') {
      if (index + 1 < args.length) throw new MesovirtError('LAB_OPTION', `'${args[index + 1]}' follows --shell; put options before it`)
      return result({ kind: 'shell' })
    } else if (argument === '--exec') {
      const command = args.slice(index + 1)
      if (command.length === 0) throw new MesovirtError('LAB_OPTION', '--exec needs a command')
      return result({ kind: 'exec', command })
    } else if (isNumberOption(argument)) {
      const [least, most] = NUMBERS[argument]
      const text = args[++index] ?? ''
      const value = Number(text)
      if (!/^\d+$/.test(text) || value < least || value > most) throw new MesovirtError('LAB_OPTION', `${argument} needs a number from ${least} to ${most}, not '${text}'`)
      numbers[argument] = value
    } else {
      return result({ kind: 'tests', vitest: args.slice(index) })
    }
  }
  return result({ kind: 'tests', vitest: [] })
}

function isNumberOption(argument: string): argument is keyof typeof NUMBERS {
  return Object.hasOwn(NUMBERS, argument)
}
