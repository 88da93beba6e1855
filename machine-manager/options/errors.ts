/** Errors about the command line. The message names the option as it was typed, says what is wrong and what to do, in one line. */
import { MesovirtError } from '../../host/errors.ts'

export type OptionErrorCode =
  | 'OPTION_UNKNOWN' | 'OPTION_VALUE' | 'OPTION_REPEATED' | 'OPTION_LATER' | 'OPTION_CONFLICT' | 'OPTION_MISSING' | 'OPTION_FILE'

/**
 * Builds an error about one option.
 * @param where the option and, where it helps, its key and value: `-smp cpus=0`
 * @param what what is wrong and what to do
 */
export function optionError(code: OptionErrorCode, where: string, what: string): MesovirtError {
  return new MesovirtError(code, `${printable(where)}: ${what}`)
}

/** Text of others inside a message of ours: control characters become `?`, long text is cut, so that an error stays one readable line. */
export function printable(text: string, limit = 200): string {
  const clean = text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, '?')
  return clean.length <= limit ? clean : `${clean.slice(0, limit)}...`
}
