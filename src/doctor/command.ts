/** `mesovirt doctor`: what this host can do for a machine, what each thing found means for which option, and how to put it right. */
import type { Command } from 'commander'
import { columnsOf, print } from '../cli-output.ts'
import { wantsColour } from '../qmp-client/render.ts'
import { gatherFacts } from './facts.ts'
import { judge } from './judge.ts'
import { renderReport } from './render.ts'

/** Of the JSON's shape; a new number tells of an incompatible change. */
const JSON_VERSION = 1

/** Adds `doctor` to the program's sub-commands. */
export function addDoctorCommand(program: Command): void {
  program.command('doctor')
    .description('explain what this host can do: kvm, memory, permissions, and how to fix what is missing')
    .option('--json', 'print the facts and their judgement as JSON', false)
    .addHelpText('after', '\nThe status is 0 when a machine can be started here, on any accelerator, else 1. The JSON is described in docs/kvm.md.')
    .action(async ({ json }: { json: boolean }) => {
      const facts = await gatherFacts()
      const report = judge(facts)
      print(json ? `${JSON.stringify({ version: JSON_VERSION, ...report, facts }, undefined, 2)}\n`
        : renderReport(report, { columns: columnsOf(process.stdout), colour: wantsColour(process.stdout, process.env) }))
      if (!report.canStart) process.exitCode = 1
    })
}
