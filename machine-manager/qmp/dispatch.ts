/** One QMP message in, one reply line out (QEMU's docs/interop/qmp-spec, 2.3 and 2.4). Leaves out: out-of-band execution, which the greeting does not offer. */
import { MesovirtError } from '../../host/errors.ts'
import { parseArguments, QmpError } from './commands/define.ts'
import { findCommand } from './commands/table.ts'
import { errorLine, returnLine } from './protocol.ts'
import type { CommandContext } from './commands/define.ts'
import type { JsonItem, JsonObject, JsonValue } from './json-stream.ts'

/**
 * Answers one message; never rejects.
 * @param reportFault told about errors that are our own, with the command's name
 */
export async function dispatch(item: JsonItem, context: CommandContext, reportFault: (command: string, error: unknown) => void): Promise<string> {
  if (item.kind === 'error') return errorLine('GenericError', item.message, undefined)
  let name = ''
  try {
    const request = readRequest(item.value)
    name = request.name
    const command = findCommand(name)
    if (command === undefined) throw new QmpError('CommandNotFound', `The command ${name} has not been found`)
    const result = await command.run(parseArguments(command, request.arguments), context)
    return returnLine(result, item.idText)
  } catch (error) {
    if (error instanceof QmpError) return errorLine(error.errorClass, error.message, item.idText)
    if (error instanceof MesovirtError) return errorLine('GenericError', error.message, item.idText)
    reportFault(name, error)
    return errorLine('GenericError', `Internal error in '${name}': see the log`, item.idText)
  }
}

/** @throws QmpError in QEMU's words */
function readRequest(value: JsonValue): { name: string; arguments: JsonObject } {
  if (!isObject(value)) throw new QmpError('GenericError', 'QMP input must be a JSON object')
  let name: string | undefined
  let args: JsonObject = {}
  for (const [key, member] of Object.entries(value)) {
    if (key === 'execute') {
      if (typeof member !== 'string') throw new QmpError('GenericError', "QMP input member 'execute' must be a string")
      name = member
    } else if (key === 'arguments') {
      if (!isObject(member)) throw new QmpError('GenericError', "QMP input member 'arguments' must be an object")
      args = member
    } else if (key !== 'id') {
      throw new QmpError('GenericError', `QMP input member '${key}' is unexpected`)
    }
  }
  if (name === undefined) throw new QmpError('GenericError', "QMP input lacks member 'execute'")
  return { name, arguments: args }
}

function isObject(value: JsonValue): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
