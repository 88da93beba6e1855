/** The option table: the one place that knows every option. Parser, -help, docs/command-line.md, completion and QMP introspection are made from it. */
import type { Arity, OptionSet, OptionShape } from './grammar.ts'
import type { OptionForm, OptionSpec } from './option-types.ts'
import { BACKEND_OPTIONS } from './table-backends.ts'
import { CONTROL_OPTIONS } from './table-control.ts'
import { MACHINE_OPTIONS } from './table-machine.ts'

export const OPTIONS: readonly OptionSpec[] = [...MACHINE_OPTIONS, ...BACKEND_OPTIONS, ...CONTROL_OPTIONS]

/** A row with what the splitter needs. */
export interface KnownOption extends OptionShape { readonly spec: OptionSpec }

function arityOf(form: OptionForm): Arity {
  switch (form.kind) {
    case 'flag': return 'none'
    case 'words': return 'words'
    case 'plain': return form.optional === true ? 'optional' : 'required'
    default: return 'required'
  }
}

const byName = new Map<string, KnownOption>()
for (const spec of OPTIONS) {
  const known = { name: spec.name, arity: arityOf(spec.form), spec }
  for (const name of [spec.name, ...(spec.aliases ?? [])]) byName.set(name, known)
}

/** Lookup by name or alias, without dash. */
export const OPTION_SET: OptionSet<KnownOption> = { get: (name) => byName.get(name), names: () => byName.keys() }
