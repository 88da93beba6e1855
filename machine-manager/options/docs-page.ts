/** The page docs/command-line.md, from the option table. Written by scripts/generate-docs.ts, checked for freshness by a test. */
import { synopsis } from './help.ts'
import { GROUPS, isHere } from './option-types.ts'
import type { MachineType, OptionSpec, SubOption } from './option-types.ts'
import { OPTIONS } from './table.ts'
import { describeType } from './values.ts'
import type { Choice, Status } from './values.ts'

const INTRODUCTION = `# Command line

<!-- Generated from machine-manager/options/table*.ts by "node scripts/ts.mjs scripts/generate-docs.ts". Do not edit. -->

    mesovirt -kernel FILE [-initrd FILE] [-append WORDS...] [-serial stdio] [OPTION...]
    mesovirt COMMAND ...

A first argument with a dash starts a machine, a word is a command (\`mesovirt help\` lists them). The grammar is QEMU's and StratoVirt's:

* options take one dash; two work too;
* a value is \`key=value,key=value\`; the first key may be left out where the table shows it in brackets;
* a comma inside a value is written twice: \`-name a,,b\` names the machine \`a,b\`;
* a JSON object works in place of keys: \`-chardev '{"backend":"socket","id":"c0","path":"/run/c0","server":true,"wait":false}'\`;
* on and off may be written yes and no or true and false; a bare key means on and \`no\` before it off: \`server,nowait\` is \`server=on,wait=off\`;
* numbers are decimal or 0x-hexadecimal; sizes take K, M, G and T, powers of 1024;
* \`-append\` takes one quoted value or many words, up to the next option;
* an option that is not marked repeatable may be given once;
* \`help\` in place of a value prints what an option accepts: \`mesovirt -machine help\`.

A mistake ends the command with one line on standard error that starts with \`mesovirt: \`, and exit status 1. Nothing is created before
the whole command line is checked.
`

/** The page as Markdown. */
export function commandLinePage(): string {
  const parts = [INTRODUCTION]
  for (const group of GROUPS) {
    const working = OPTIONS.filter((option) => option.group === group && option.status === undefined && isHere(option))
    if (working.length > 0) parts.push(`## ${group}\n`, ...working.map(section))
  }
  parts.push('## Accepted and ignored\n',
    'Programs that start virtual machines (libvirt, Kata Containers) give these. They change nothing, for the reason shown.\n',
    table(['Option', 'What it asks for', 'Why it is ignored'], OPTIONS.filter((option) => option.status?.state === 'ignored')
      .map((option) => [code(synopsis(option)), option.help, reasonOf(option.status)])))
  parts.push('## Known, not in this version\n', 'Each gives an error that names what it waits for.\n',
    table(['Option', 'What it asks for', 'Machines', 'Waits for'], OPTIONS.filter((option) => option.status?.state === 'later')
      .map((option) => [code(`-${option.name}`), option.help, machines(option.machines), reasonOf(option.status)])))
  for (const option of OPTIONS) {
    if (option.form.kind !== 'variants') continue
    const rows = option.form.variants.filter((variant) => variant.status?.state === 'later')
    parts.push(`### ${code(`-${option.name}`)}\n`, table([capitalize(option.form.key), 'Machines', 'Waits for'],
      rows.map((variant) => [code(variant.name), machines(variant.machines), reasonOf(variant.status)])))
  }
  return `${parts.join('\n').trimEnd()}\n`
}

function section(option: OptionSpec): string {
  const lines = [`### \`${synopsis(option)}\`\n`, `${option.help}${option.repeatable === true ? ' May be repeated.' : ''}\n`]
  const { form } = option
  if (form.kind === 'keys') lines.push(keyTable(form.sub))
  if (form.kind === 'variants') {
    if (form.common.length > 0) lines.push(keyTable(form.common))
    for (const variant of form.variants) {
      if (variant.status?.state === 'later') continue
      lines.push(`**${variant.name}**: ${variant.help}\n`, ...(variant.sub.length > 0 ? [keyTable(variant.sub)] : []))
    }
  }
  return lines.join('\n')
}

function keyTable(sub: readonly SubOption[]): string {
  return table(['Property', 'Value', 'Default', 'Meaning'], sub.map((option) =>
    [code(option.key), valueText(option), option.default ?? (option.required === true ? 'required' : ''), meaning(option)]))
}

function valueText({ type }: SubOption): string {
  if (type.kind === 'integer') return `${type.min} to ${type.max}`
  if (type.kind === 'text' || type.kind === 'path') return `${describeType(type)}, at most ${type.maxBytes} bytes`
  return code(describeType(type))
}

function meaning(option: SubOption): string {
  const { type } = option
  const choices: readonly Choice[] = type.kind === 'choice' || type.kind === 'preference' ? type.choices : []
  const laterChoices = choices.filter((choice) => choice.status?.state === 'later').map((choice) => code(choice.name))
  const notes = [option.help, ...(laterChoices.length > 0 ? [`not in this version: ${laterChoices.join(', ')}`] : [])]
  if (option.status?.state === 'ignored') notes.push(`ignored: ${option.status.reason}`)
  if (option.status?.state === 'later') notes.push(`not in this version: ${option.status.work}`)
  return notes.join('; ')
}

const code = (text: string) => `\`${text}\``
const reasonOf = (status: Status | undefined) => (status?.state === 'ignored' ? status.reason : status?.state === 'later' ? status.work : '')
const machines = (types: readonly MachineType[] | undefined) => (types === undefined ? 'all' : types.join(', '))
const capitalize = (text: string) => text.charAt(0).toUpperCase() + text.slice(1)

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return `${[line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')}\n`
}
