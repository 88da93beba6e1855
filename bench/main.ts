/**
 * `npm run bench -- [boot|startup|idle|cpu|guest|kvm ...] [--rounds N] [--all] [--json FILE] [--write-docs]`: measures mesovirt and QEMU in turns and prints
 * medians, ratios and targets; more options for those who tune. Its exit status says only whether it could measure.
 */
import fs from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { createProgress } from '../src/guest/progress.ts'
import { boot } from './boot.ts'
import { makeFolder } from './context.ts'
import type { Bench } from './context.ts'
import { cpu } from './cpu.ts'
import { guest } from './guest.ts'
import { hostFacts } from './host.ts'
import { idle } from './idle.ts'
import { kvm } from './kvm.ts'
import { docsPage, hostLines, jsonOf, textTable } from './report.ts'
import type { Run } from './report.ts'
import { startup } from './startup.ts'
import type { Figure } from './statistics.ts'

const BENCHES: Readonly<Record<string, Bench>> = { boot, startup, idle, cpu, guest, kvm }
const DOCS = path.join('docs', 'PERFORMANCE.md')
const USAGE = `usage: npm run bench -- [${Object.keys(BENCHES).join('|')} ...] [options]

  no name       all of them
  --rounds N    how often each is measured on each side (default 3)
  --all         boot: also the bzImage and the generic kernel
  --json FILE   write every value
  --dist DIR    measure the build in DIR (default dist), to compare two
  --node=FLAGS  flags of Node for ours, such as --node="--no-wasm-stack-checks"
  --no-peer     leave QEMU out
  --write-docs  write ${DOCS}
`

async function main(argv: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...argv], allowPositionals: true,
    options: {
      'rounds': { type: 'string', default: '3' }, 'all': { type: 'boolean', default: false }, 'json': { type: 'string' }, 'dist': { type: 'string', default: 'dist' },
      'node': { type: 'string', default: '' }, 'no-peer': { type: 'boolean', default: false }, 'write-docs': { type: 'boolean', default: false }, 'help': { type: 'boolean', default: false },
    },
  })
  const rounds = Number(values.rounds)
  const unknown = positionals.find((name) => !Object.hasOwn(BENCHES, name))
  if (values.help || unknown !== undefined || !Number.isInteger(rounds) || rounds < 1) {
    process.stderr.write(unknown === undefined ? USAGE : `there is no bench '${unknown}'\n${USAGE}`)
    return values.help ? 0 : 1
  }
  const host = hostFacts()
  const progress = createProgress()
  const notes: string[] = [], figures: Figure[] = []
  const folder = makeFolder()
  for (const line of hostLines(host)) process.stdout.write(`${line}\n`)
  try {
    for (const name of positionals.length === 0 ? Object.keys(BENCHES) : positionals) {
      const measured = await (BENCHES[name] as Bench)({
        rounds, all: values.all, folder, sides: host.qemu === undefined || values['no-peer'] ? ['ours'] : ['ours', 'qemu'],
        build: { dist: path.resolve(values.dist), flags: values.node.split(' ').filter((flag) => flag !== '') },
        step: (text) => progress.detail(text), note: (text) => notes.push(text),
      })
      progress.done()
      process.stdout.write(`\n${textTable(measured).join('\n')}\n`)
      figures.push(...measured)
    }
  } finally {
    progress.done()
    fs.rmSync(folder, { recursive: true, force: true })
  }
  for (const note of notes) process.stdout.write(`${note}\n`)
  const command = argv.filter((word) => word !== '--write-docs').join(' ')
  const run: Run = { host, command, date: new Date().toISOString().slice(0, 10), rounds, figures, notes }
  if (values.json !== undefined) fs.writeFileSync(values.json, jsonOf(run))
  if (values['write-docs']) fs.writeFileSync(DOCS, docsPage(fs.existsSync(DOCS) ? fs.readFileSync(DOCS, 'utf8') : '', run))
  return 0
}

main(process.argv.slice(2)).then(
  (status) => process.exit(status),
  (error: unknown) => {
    process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`)
    process.exit(1)
  },
)
