/** The door to the command line: argv -> what to do. Nothing here touches files or prints. */
import { buildConfig } from './build.ts'
import type { BuiltConfig } from './build.ts'
import { splitArguments } from './grammar.ts'
import type { OptionSpec } from './option-types.ts'
import { OPTION_SET } from './table.ts'

/** What a command line of options asks for. */
export type Command =
  | { readonly kind: 'help' }
  | { readonly kind: 'option-help'; readonly option: OptionSpec }
  | { readonly kind: 'version' }
  | ({ readonly kind: 'launch' } & BuiltConfig)

/**
 * Reads the arguments of a launch. -help and -version win over everything else, as with QEMU; `-machine help` asks about one option.
 * @param argv arguments without program name
 * @throws MesovirtError with an OPTION_ code; nothing else, whatever the input
 */
export function parseCommandLine(argv: readonly string[]): Command {
  const occurrences = splitArguments(argv, OPTION_SET)
  for (const { option, value } of occurrences) {
    if (option.name === 'help') return { kind: 'help' }
    if (option.name === 'version') return { kind: 'version' }
    const asks = value === 'help' || value === '?'
    if (asks && (option.spec.form.kind === 'keys' || option.spec.form.kind === 'variants' || option.spec.form.kind === 'character-device')) {
      return { kind: 'option-help', option: option.spec }
    }
  }
  return { kind: 'launch', ...buildConfig(occurrences) }
}
