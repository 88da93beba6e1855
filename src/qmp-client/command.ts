/** `mesovirt qmp SOCKET`: a client for the monitor of a running machine, ours or any other that speaks QMP. */
import { createInterface } from 'node:readline'
import { QmpClient } from '../../machine-manager/qmp/client.ts'
import { parseMonitorAddress } from './address.ts'
import { runBatch } from './batch.ts'
import { History, historyPath } from './history.ts'
import { runInteractive } from './interactive.ts'
import { wantsColour } from './render.ts'
import type { Command } from 'commander'

const EXAMPLES = `
At a terminal it is interactive: history, Tab completes, events appear as they come. Otherwise it reads one command per line
and ends with status 1 if one of them failed.

Examples:
  mesovirt qmp vm.sock
  mesovirt qmp vm.sock -c query-status -c 'hmp info registers'
  echo stop | mesovirt qmp localhost:4444`

/** Adds `qmp` to the program's sub-commands. */
export function addQmpCommand(program: Command): void {
  program.command('qmp')
    .description('talk to the monitor of a running machine')
    .argument('<socket>', 'socket path or HOST:PORT, as given to -qmp')
    .option('-c, --command <command>', 'run a command and leave; may be repeated', (value: string, earlier: string[]) => [...earlier, value], [])
    .addHelpText('after', EXAMPLES)
    .action(async (socket: string, { command }: { command: string[] }) => {
      const status = await runQmp(socket, command)
      if (status !== 0) process.exitCode = status
    })
}

/** @throws MesovirtError when the monitor cannot be reached; @returns exit status */
async function runQmp(place: string, commands: readonly string[]): Promise<number> {
  const { stdin, stdout, stderr } = process
  const client = await QmpClient.connect(parseMonitorAddress(place))
  const terminal = stdout.isTTY === true
  const colour = wantsColour(stdout, process.env)
  // A reader that went away (`| head`) is no error of ours.
  stdout.on('error', () => client.close())
  if (commands.length === 0 && stdin.isTTY && terminal) {
    return runInteractive(client, { input: stdin, output: stdout, history: new History(historyPath(process.env)), colour })
  }
  const lines = commands.length > 0 ? commands : createInterface({ input: stdin, crlfDelay: Infinity })
  try {
    return await runBatch(client, lines, { terminal, colour, out: (text) => stdout.write(text), error: (text) => stderr.write(text) })
  } finally {
    client.close()
  }
}
