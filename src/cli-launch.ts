/** A command line of options: help, version, or a machine, in the foreground or as a daemon. */
import { parseCommandLine } from '../machine-manager/options/parse.ts'
import { isDaemonChild } from '../machine-manager/ready.ts'
import { columnsOf, print, say } from './cli-output.ts'

/**
 * @param argv arguments without program name, the first starts with a dash
 * @returns exit status, or undefined when the machine decides
 * @throws MesovirtError for every mistake of the user, before anything is created
 */
export async function launchCommand(argv: readonly string[]): Promise<number | undefined> {
  // Once ready, the copy's standard error has no reader; that must never end it.
  if (isDaemonChild()) process.stderr.on('error', () => undefined)
  const command = parseCommandLine(argv)
  switch (command.kind) {
    case 'help': {
      const { helpText } = await import('../machine-manager/options/help.ts')
      print(helpText(columnsOf(process.stdout)))
      return 0
    }
    case 'option-help': {
      const { optionHelpText } = await import('../machine-manager/options/help.ts')
      print(optionHelpText(command.option, columnsOf(process.stdout)))
      return 0
    }
    case 'version': {
      const { versionLine } = await import('./version.ts')
      print(`${versionLine()}\n`)
      return 0
    }
    case 'launch': {
      const { config, notices } = command
      const { checkFiles } = await import('../machine-manager/options/validate.ts')
      checkFiles(config)
      // The background copy reads the same command line again: its notices have been given.
      if (!isDaemonChild()) for (const notice of notices) say(notice)
      if (config.daemonize && !isDaemonChild()) return (await import('./daemonize.ts')).startDaemon(argv, { keepStderr: config.log.kind === 'stderr' })
      const { openLog } = await import('../machine-manager/log.ts')
      openLog(config.log)
      if (config.pidFile !== undefined) (await import('../machine-manager/pidfile.ts')).createPidFile(config.pidFile)
      const { launch } = await import('../machine-manager/lifecycle.ts')
      return launch(config, say)
    }
  }
}
