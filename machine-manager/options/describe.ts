/** The option table as data, in the shape of QMP's query-command-line-options (QEMU qapi/misc.json). Options without keys have no parameters. */
import { isHere } from './option-types.ts'
import type { SubOption } from './option-types.ts'
import { OPTIONS } from './table.ts'

export interface ParameterInfo {
  readonly name: string
  readonly type: 'string' | 'boolean' | 'number' | 'size'
  readonly help: string
  readonly default?: string
}

export interface OptionInfo { readonly option: string; readonly parameters: readonly ParameterInfo[] }

/** Every option that is there now, with the keys it takes. @param name one option only */
export function describeOptions(name?: string): OptionInfo[] {
  return OPTIONS.filter((option) => isHere(option) && (name === undefined || option.name === name)).map((option) => {
    const { form } = option
    const sub = form.kind === 'keys' ? form.sub : form.kind === 'variants' ? [...form.common, ...form.variants.flatMap((variant) => variant.sub)] : []
    const unique = new Map(sub.filter((key) => key.status?.state !== 'later').map((key) => [key.key, parameter(key)]))
    return { option: option.name, parameters: [...unique.values()] }
  })
}

function parameter({ key, type, help, default: fallback }: SubOption): ParameterInfo {
  const kind = type.kind === 'boolean' || type.kind === 'size' ? type.kind : type.kind === 'integer' ? 'number' : 'string'
  return { name: key, type: kind, help, ...(fallback === undefined ? {} : { default: fallback }) }
}
