/** `mesovirt completion bash|zsh|fish`: prints what the shell has to source. */
import { Argument } from 'commander'
import type { Command } from 'commander'
import { SHELLS, completionScript } from '../machine-manager/options/completion.ts'
import type { CommandName, Shell } from '../machine-manager/options/completion.ts'
import { print } from './cli-output.ts'

/** @param commands lists the commands when the script is made, after all were added */
export function addCompletionCommand(program: Command, commands: () => readonly CommandName[]): void {
  program.command('completion')
    .description('print a completion script for a shell')
    .addArgument(new Argument('<shell>', 'the shell').choices([...SHELLS]))
    .addHelpText('after', '\nFor bash, put this into ~/.bashrc: source <(mesovirt completion bash)')
    .action((shell: Shell) => {
      print(completionScript(shell, commands()))
    })
}
