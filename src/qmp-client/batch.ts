/** Commands that no person waits for: `-c COMMAND`, or lines on standard input. Results go to the output one per line, failures to the error output. */
import { MesovirtError } from '../../host/errors.ts'
import { parseRequest } from './request.ts'
import { harmless, renderValue } from './render.ts'
import type { QmpClient } from '../../machine-manager/qmp/client.ts'

export interface BatchOutput {
  /** A terminal gets indented JSON and harmless text, anything else compact JSON and the text as it came. */
  readonly terminal: boolean
  readonly colour: boolean
  out(text: string): void
  error(text: string): void
}

/**
 * Runs the lines one after the other; one that fails does not keep the next from running.
 * @returns exit status: 0, or 1 when any failed
 */
export async function runBatch(client: QmpClient, lines: Iterable<string> | AsyncIterable<string>, output: BatchOutput): Promise<0 | 1> {
  let status: 0 | 1 = 0
  for await (const line of lines) {
    try {
      const typed = parseRequest(line)
      if (typed === undefined) continue
      const reply = await client.send(typed.request)
      if ('error' in reply) {
        status = 1
        output.error(`${harmless(`${reply.error.class}: ${reply.error.desc}`)}\n`)
      } else {
        output.out(renderResult(reply.return, typed.text, output))
      }
    } catch (error) {
      if (!(error instanceof MesovirtError)) throw error
      status = 1
      output.error(`${harmless(error.message)}\n`)
      if (error.code === 'QMP_CLOSED') return status
    }
  }
  return status
}

/** A result as text that ends its line. @param text the result of the human monitor: its text is what matters */
export function renderResult(result: unknown, text: boolean, { terminal, colour }: { readonly terminal: boolean; readonly colour: boolean }): string {
  if (text && typeof result === 'string') {
    const plain = terminal ? harmless(result) : result.replace(/\r\n/g, '\n')
    return plain === '' || plain.endsWith('\n') ? plain : `${plain}\n`
  }
  return `${terminal ? renderValue(result, { colour }) : JSON.stringify(result)}\n`
}
