/**
 * Makes the instruction vectors on the processor underneath: `npm run vectors [filter]`. One child process per opcode family runs them
 * (test/vectors/native.ts), so that a vector that goes astray ends a child and is named. Writes test/vectors/data/*.bin.br.
 */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { CoreExecutor } from '../test/vectors/core.ts'
import { Generator } from '../test/vectors/generate.ts'
import { allGroups, unitOf, VECTORS_PER_GROUP } from '../test/vectors/groups.ts'
import { NativeExecutor } from '../test/vectors/native.ts'
import { normalise } from '../test/vectors/normalise.ts'
import { equal, forgive } from '../test/vectors/compare.ts'
import { describe, replay } from '../test/vectors/replay.ts'
import { checkState, Writer } from '../test/vectors/store.ts'
import { S_RFLAGS, S_TRAP, SNAPSHOT } from '../test/vectors/arena.ts'

const FOLDER = path.resolve('test/vectors/data')

/** Child: all groups of one family. The group at work is named in `progress`, for the parent to report. */
function generateUnit(unit: string, out: string, progress: string): void {
  const executor = new NativeExecutor()
  const writer = new Writer()
  const final = new Uint8Array(SNAPSHOT)
  const file = fs.openSync(progress, 'w')
  for (const group of allGroups().filter((each) => unitOf(each) === unit)) {
    fs.writeSync(file, `${group.key}\n`)
    const generator = new Generator(group)
    let check = 0x811c9dc5
    const pairs: [Uint8Array, Uint8Array][] = []
    for (let n = 0; n < VECTORS_PER_GROUP; n++) {
      const state = generator.next()
      check = checkState(check, state.bytes, state.code, state.codeLength)
      if (process.env['VECTORS_TRACE'] === '1') fs.writeSync(file, `${n} ${Buffer.from(state.code.subarray(0, state.codeLength)).toString('hex')}\n`)
      // RDRAND and RDSEED may have nothing to give (CF = 0): asked again.
      const entropy = group.row.name === 'rdrand' || group.row.name === 'rdseed'
      do { executor.run(state, final) } while (entropy && (final[S_RFLAGS]! & 1) === 0)
      normalise(state, final)
      pairs.push([state.bytes.slice(), final.slice()])
    }
    writer.beginGroup({ key: group.key, check, vectors: VECTORS_PER_GROUP })
    for (const [from, to] of pairs) writer.add(from, to)
  }
  fs.writeFileSync(out, writer.finish())
}

function cpuName(): string {
  const text = fs.readFileSync('/proc/cpuinfo', 'utf8')
  const field = (name: string): string => new RegExp(`^${name}\\s*: (.*)$`, 'm').exec(text)?.[1] ?? 'unknown'
  return `${field('model name')} (${field('vendor_id')}, family ${field('cpu family')}, model ${field('model')}, stepping ${field('stepping')}, microcode ${field('microcode')})`
}

function main(): void {
  const units = [...new Set(allGroups().map(unitOf))]
  const wanted = process.argv[2]
  fs.mkdirSync(FOLDER, { recursive: true })
  let failed = false
  for (const unit of units.filter((each) => wanted === undefined || each === wanted)) {
    const out = path.join(FOLDER, `${unit}.bin.br`)
    const progress = path.join(os.tmpdir(), `vectors-${process.pid}-${unit}.txt`)
    const child = spawnSync(process.execPath, [fileURLToPath(import.meta.url), '--child', unit, out, progress], { stdio: 'inherit' })
    if (child.status === 0) console.log(`${unit}: ${allGroups().filter((group) => unitOf(group) === unit).length} forms, ${fs.statSync(out).size} bytes`)
    else {
      console.error(`${unit}: the child ended with ${child.signal ?? child.status} in ${fs.readFileSync(progress, 'utf8').trimEnd().split('\n').slice(-2).join(' | ')}`)
      failed = true
    }
    fs.rmSync(progress, { force: true })
  }
  fs.writeFileSync(path.join(FOLDER, 'source.json'), `${JSON.stringify({ processor: cpuName(), made: new Date().toISOString().slice(0, 10), command: 'npm run vectors' }, null, 2)}\n`)
  if (failed) process.exitCode = 1
}

/** `npm run vectors check [family] [text in the key] [step|run] [plain]`: replays the stored set and lists what disagrees. */
function check(unit: string | undefined, only: string, way: string, plain: boolean): void {
  const core = new CoreExecutor('dist/core.wasm')
  for (const each of [...new Set(allGroups().map(unitOf))].filter((name) => unit === undefined || unit === '' || name === unit)) {
    const started = performance.now()
    const report = replay(core, each, { path: way === 'run' ? 'run' : 'step', specialised: !plain }, Number(process.env['EXAMPLES'] ?? 2), only)
    for (const { group, wrong, of, examples } of report.disagreements) console.log(`${group}: ${wrong}/${of}\n   ${examples.join('\n   ')}`)
    console.log(`${each}: ${report.disagreements.length} of ${report.counts.size} forms disagree, ${report.stale.length} stale, ${Math.round(performance.now() - started)} ms`)
  }
}

/** `npm run vectors fuzz FAMILY|all COUNT SEED [text in the key]`: other vectors than the stored ones, on both processors at once. */
function fuzz(unit: string, count: number, seed: string, only: string): void {
  const native = new NativeExecutor(), core = new CoreExecutor('dist/core.wasm')
  const wanted = new Uint8Array(SNAPSHOT), got = new Uint8Array(SNAPSHOT)
  let total = 0
  for (const group of allGroups()) {
    if ((unit !== 'all' && unitOf(group) !== unit) || !group.key.includes(only) || group.row.name === 'rdseed') continue
    const generator = new Generator(group, seed)
    let wrong = 0
    const shown: string[] = []
    for (let n = 0; n < count; n++) {
      const state = generator.next()
      native.run(state, wanted)
      normalise(state, wanted)
      core.run(state, { path: n % 2 === 0 ? 'run' : 'step', specialised: n % 4 < 2 }, wanted[S_TRAP]!, got)
      normalise(state, got)
      forgive(group.row, wanted, got)
      total++
      if (equal(wanted, got)) continue
      if (wrong++ < 2) shown.push(describe(n, state, wanted, got))
    }
    if (wrong > 0) console.log(`${group.key}: ${wrong}/${count}\n   ${shown.join('\n   ')}`)
  }
  console.log(`${total} vectors`)
}

if (process.argv[2] === 'fuzz') fuzz(process.argv[3] ?? 'all', Number(process.argv[4] ?? 1000), process.argv[5] ?? '1', process.argv[6] ?? '')
else if (process.argv[2] === 'check') check(process.argv[3], process.argv[4] ?? '', process.argv[5] ?? 'step', process.argv[6] === 'plain')
else if (process.argv[2] === '--child') generateUnit(process.argv[3] ?? '', process.argv[4] ?? '', process.argv[5] ?? '')
else main()
