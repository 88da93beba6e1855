/**
 * The binary. A first argument with a dash starts a machine, a word is a sub-command. What a launch does not need is loaded only when
 * asked for: the time to the QMP greeting is part of what this program promises.
 */
import { sayError } from './cli-output.ts'

const argv = process.argv.slice(2)

/** @returns exit status, or undefined when the process lives on by itself */
async function main(): Promise<number | undefined> {
  const first = argv[0]
  if (first === undefined) {
    const { SHORT_HELP } = await import('../machine-manager/options/help.ts')
    process.stderr.write(SHORT_HELP)
    return 1
  }
  if (first.startsWith('-')) return (await import('./cli-launch.ts')).launchCommand(argv)
  return (await import('./cli-commands.ts')).runCommand(argv)
}

main().then(
  (status) => {
    if (status !== undefined) process.exit(status)
  },
  (error: unknown) => {
    sayError(error)
    process.exit(1)
  },
)
