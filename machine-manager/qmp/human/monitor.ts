/** The human monitor behind human-monitor-command: QEMU's `info`, `x` and `xp` with its words for mistakes. Every answer is text, mistakes too. */
import { MesovirtError } from '../../../host/errors.ts'
import { evaluate, ExpressionError } from './expression.ts'
import { dumpMemory, MAX_DUMP_BYTES, parseDumpFormat } from './memory-dump.ts'
import type { DumpRequest } from './memory-dump.ts'
import type { VirtualMachine } from '../../vm.ts'

/** A line of the monitor, for help and docs. */
export interface HumanCommand { readonly usage: string; readonly doc: string }

export const HUMAN_COMMANDS: readonly HumanCommand[] = [
  { usage: 'help [command]', doc: 'list the commands' },
  { usage: 'info accel', doc: 'show what the accelerator has done since the last reset: instructions, their rate over machine time, counters' },
  { usage: 'info jit', doc: 'show what the translator of the software CPU has done: regions, their size, time in each tier; with -accel tcg,symbols=FILE also where the guest kernel spends its instructions' },
  { usage: 'info mtree', doc: 'show the memory regions' },
  { usage: 'info registers [-a|vcpu]', doc: 'show the registers of one vCPU, or of all with -a' },
  { usage: 'info status', doc: 'show the run state' },
  { usage: 'x /fmt addr', doc: 'dump memory at a virtual address; fmt = count, format (x d u o c) and size (b h w g)' },
  { usage: 'xp /fmt addr', doc: 'dump memory at a physical address; fmt as for x' },
]

/** A line is for people: longer ones are refused before anything scans them. */
const MAX_LINE = 4096

/** Text for a mistake in a line. */
class Mistake extends Error {}

export class HumanMonitor {
  private readonly vm: VirtualMachine
  /** `x` and `xp` take what a line leaves out from the line before. */
  private lastDump: DumpRequest = { count: 1, format: 'x', size: 4 }

  constructor(vm: VirtualMachine) {
    this.vm = vm
  }

  /** Runs one line. @returns the answer, lines ended by CR LF; empty for an empty line */
  async run(line: string, cpuIndex: number): Promise<string> {
    const answer = line.length > MAX_LINE ? `line too long: at most ${MAX_LINE} characters\n` : await this.answer(line.trim(), cpuIndex)
    return answer.replace(/\r?\n/g, '\r\n')
  }

  private async answer(line: string, cpuIndex: number): Promise<string> {
    const [, name = '', rest = ''] = /^([^\s/]*)\s*(.*)$/s.exec(line) ?? []
    switch (name) {
      case '': return line === '' ? '' : `unknown command: '${line}'\n`
      case 'help':
      case '?': return this.help(rest)
      case 'info': return this.info(rest, cpuIndex)
      case 'x':
      case 'xp': return guarded(name, () => this.dump(name, rest, cpuIndex))
      default: return `unknown command: '${name}'\n`
    }
  }

  private help(topic: string): string {
    const wanted = topic.trim().split(/\s+/).join(' ')
    const found = HUMAN_COMMANDS.filter(({ usage }) => wanted === '' || usage === wanted || usage.startsWith(`${wanted} `))
    if (found.length === 0) return `unknown command: '${wanted}'\n`
    return found.map(({ usage, doc }) => `${usage}  -- ${doc}\n`).join('')
  }

  private async info(line: string, cpuIndex: number): Promise<string> {
    const [topic = '', ...words] = line.split(/\s+/)
    switch (topic) {
      case '': return this.help('info')
      case 'status': return guarded('info status', () => {
        expectNothing('status', words)
        return this.status()
      })
      case 'accel': return guarded('info accel', () => {
        expectNothing('accel', words)
        return this.accelerator()
      })
      case 'jit': return guarded('info jit', () => {
        expectNothing('jit', words)
        return this.translator()
      })
      case 'mtree': return guarded('info mtree', () => {
        const option = words.find((word) => word.startsWith('-'))
        if (option !== undefined) throw new Mistake(`mtree: unsupported option ${option}`)
        expectNothing('mtree', words)
        return endLine(this.vm.memoryTree())
      })
      case 'registers': return guarded('info registers', () => this.registers(words, cpuIndex))
      default: return `unknown command: 'info ${topic}'\n`
    }
  }

  private status(): string {
    const status = this.vm.status()
    const detail = status === 'running' || status === 'paused' ? '' : ` (${status})`
    return `VM status: ${status === 'running' ? 'running' : 'paused'}${detail}\n`
  }

  private translator(): string {
    const { translator, symbols = [] } = this.vm.acceleratorStatistics()
    if (translator === undefined) return `accelerator ${this.vm.accelerator} translates nothing\n`
    const lines = translator.map(({ name, value }) => `${name}: ${value}`)
    if (symbols.length > 0) lines.push('', 'guest symbols, share of the instructions:', ...symbols.map(({ name, percent }) => `${percent.toFixed(1).padStart(5)} %  ${name}`))
    return `${lines.join('\n')}\n`
  }

  private accelerator(): string {
    const { machineNs, instructions, counters } = this.vm.acceleratorStatistics()
    const seconds = Number(machineNs) / 1e9
    const lines = [`accelerator: ${this.vm.accelerator}`, `machine time: ${seconds.toFixed(3)} s`]
    if (instructions !== undefined) lines.push(`instructions: ${instructions}`, `MIPS: ${seconds > 0 ? (Number(instructions) / seconds / 1e6).toFixed(1) : '-'}`)
    return `${[...lines, ...counters.map(({ name, value }) => `${name}: ${value}`)].join('\n')}\n`
  }

  private async registers(words: readonly string[], cpuIndex: number): Promise<string> {
    const options = words.filter((word) => word.startsWith('-'))
    const bad = options.find((word) => word !== '-a')
    if (bad !== undefined) throw new Mistake(`registers: unsupported option ${bad}`)
    const known = this.vm.cpus().map(({ index }) => index)
    if (options.length > 0) return (await Promise.all(known.map((index) => this.registersOf(index)))).join('')
    const expression = words.join(' ')
    if (expression === '') return this.registersOf(cpuIndex)
    const wanted = await this.number('registers', expression, cpuIndex)
    const index = known.find((candidate) => BigInt(candidate) === wanted)
    return index === undefined ? `CPU#${wanted} not available\n` : this.registersOf(index)
  }

  private async registersOf(index: number): Promise<string> {
    const text = endLine(await this.vm.registers(index))
    return /^\s*CPU#/.test(text) ? text : `\nCPU#${index}\n${text}`
  }

  private async dump(name: 'x' | 'xp', rest: string, cpuIndex: number): Promise<string> {
    const [, format = '', expression = ''] = /^(?:\/(\S*))?\s*(.*)$/s.exec(rest) ?? []
    const request = parseDumpFormat(format, this.lastDump)
    if (typeof request === 'string') throw new Mistake(request)
    const address = await this.number(name, expression, cpuIndex)
    const { format: letter, size, count } = request
    if (letter === 'i') throw new Mistake('format i is not available: there is no disassembler')
    if (count * size > MAX_DUMP_BYTES) throw new Mistake(`${name}: at most ${MAX_DUMP_BYTES} bytes at a time`)
    this.lastDump = request
    return dumpMemory(address, { format: letter, size, count }, name === 'xp'
      ? async (at, length) => at > BigInt(Number.MAX_SAFE_INTEGER) ? undefined : readable(() => this.vm.readPhysical(Number(at), length))
      : (at, length) => readable(() => this.vm.readVirtual(cpuIndex, at, length)))
  }

  /** The value of an expression that must be the whole rest of the line. */
  private async number(command: string, expression: string, cpuIndex: number): Promise<bigint> {
    const { value, rest } = await evaluate(expression, (name) => this.register(name, cpuIndex))
    if (rest !== '') throw new Mistake(`${command}: extraneous characters at the end of line`)
    return value
  }

  /** `$rip`, `$pc`, `$eax`: read out of the text of `info registers`. */
  private async register(name: string, cpuIndex: number): Promise<bigint | undefined> {
    const upper = name.toUpperCase().replace(/^PC$/, 'RIP')
    const find = async (wanted: string) => {
      if (!/^[A-Z][A-Z0-9]{1,5}$/.test(wanted)) return undefined
      const hex = new RegExp(`(?:^|\\s)${wanted}\\s*=\\s*([0-9a-fA-F]{1,16})(?:\\s|$)`).exec(await this.vm.registers(cpuIndex))?.[1]
      return hex === undefined ? undefined : BigInt(`0x${hex}`)
    }
    const exact = await find(upper)
    if (exact !== undefined || !upper.startsWith('E')) return exact
    const wide = await find(`R${upper.slice(1)}`)
    return wide === undefined ? undefined : BigInt.asUintN(32, wide)
  }
}

function expectNothing(topic: string, words: readonly string[]): void {
  if (words.length > 0) throw new Mistake(`${topic}: extraneous characters at the end of line`)
}

/** Turns a mistake into the monitor's text. @param command as `help` knows it */
async function guarded(command: string, run: () => string | Promise<string>): Promise<string> {
  try {
    return await run()
  } catch (error) {
    if (error instanceof Mistake || error instanceof ExpressionError) return `${error.message}\nTry "help ${command}" for more information\n`
    if (error instanceof MesovirtError) return `${error.message}\n`
    throw error
  }
}

async function readable(read: () => Uint8Array | Promise<Uint8Array>): Promise<Uint8Array | undefined> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof MesovirtError) return undefined
    throw error
  }
}

function endLine(text: string): string {
  return text === '' || text.endsWith('\n') ? text : `${text}\n`
}
