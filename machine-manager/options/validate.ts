/** Rules between values: topology, memory, owners of the terminal, files. What one value may be is in the table. */
import fs from 'node:fs'
import type { AcceleratorName, ChardevConfig, CpuTopology, VmConfig } from './config.ts'
import { optionError, printable } from './errors.ts'
import { MAX_APPEND_BYTES, MAX_CPUS } from './table-machine.ts'
import { MIB, formatSize } from './values.ts'

/** A wasm memory is 4 GiB; the software CPU keeps its own state and decoded code in it beside guest memory. */
export const MAX_TCG_RAM = 3584 * MIB
const PAGE = 4096

/** Numbers of -smp as given. */
export type GivenTopology = Partial<Record<keyof CpuTopology, number | undefined>>

/**
 * Fills in what -smp leaves open: missing cores take the rest, with cores given missing sockets do, then threads.
 * @throws MesovirtError OPTION_CONFLICT, OPTION_VALUE
 */
export function fillTopology(given: GivenTopology): CpuTopology {
  const dies = given.dies ?? 1
  const clusters = given.clusters ?? 1
  const product = (given.sockets ?? 1) * dies * clusters * (given.cores ?? 1) * (given.threads ?? 1)
  const maxCpus = given.maxCpus ?? Math.max(given.cpus ?? 1, given.cpus === undefined ? product : 1)
  const cpus = given.cpus ?? maxCpus
  if (maxCpus > MAX_CPUS) throw optionError('OPTION_VALUE', '-smp', `the topology has ${maxCpus} vCPUs, at most ${MAX_CPUS} are possible`)
  if (cpus > maxCpus) throw optionError('OPTION_CONFLICT', `-smp cpus=${cpus},maxcpus=${maxCpus}`, 'maxcpus must be at least cpus')
  const rest = (...factors: number[]) => Math.max(1, Math.floor(maxCpus / factors.reduce((a, b) => a * b, 1)))
  let { sockets, cores, threads } = given
  if (cores === undefined) {
    sockets ??= 1
    threads ??= 1
    cores = rest(sockets, dies, clusters, threads)
  } else if (sockets === undefined) {
    threads ??= 1
    sockets = rest(dies, clusters, cores, threads)
  }
  threads ??= rest(sockets, dies, clusters, cores)
  const total = sockets * dies * clusters * cores * threads
  if (total !== maxCpus) {
    throw optionError('OPTION_CONFLICT', '-smp',
      `sockets ${sockets} x dies ${dies} x clusters ${clusters} x cores ${cores} x threads ${threads} = ${total} must equal maxcpus ${maxCpus}`)
  }
  return { cpus, maxCpus, sockets, dies, clusters, cores, threads }
}

/** @param size bytes, already within the range of the table; @param accelerator the one preferred */
export function checkMemory(size: number, accelerator: AcceleratorName | undefined): number {
  if (size % PAGE !== 0) throw optionError('OPTION_VALUE', `-m ${formatSize(size)}`, 'must be a multiple of 4K')
  if (accelerator === 'tcg') checkTcgMemory(size)
  return size
}

/** @param why the reason for tcg where nobody asked for it; @throws MesovirtError OPTION_VALUE */
export function checkTcgMemory(size: number, why = ''): void {
  if (size <= MAX_TCG_RAM) return
  throw optionError('OPTION_VALUE', `-m ${formatSize(size)}`,
    `the tcg accelerator can give a guest at most 3584M${why === '' ? '' : `, and it is taken since ${why}`}; use -m ${MAX_TCG_RAM / MIB} or less`)
}

/** @returns the UUID in lower case */
export function checkUuid(text: string): string {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) {
    throw optionError('OPTION_VALUE', `-uuid ${printable(text, 60)}`, 'not a UUID; write one as 123e4567-e89b-42d3-a456-426614174000')
  }
  return text.toLowerCase()
}

export function checkAppend(text: string): string {
  if (text.includes('\0')) throw optionError('OPTION_VALUE', '-append', 'the kernel command line holds a zero byte')
  const bytes = Buffer.byteLength(text)
  if (bytes > MAX_APPEND_BYTES) throw optionError('OPTION_VALUE', '-append',
    `the kernel command line has ${bytes} bytes, Linux takes at most ${MAX_APPEND_BYTES}; shorten it`)
  return text
}

/** A character device with the option that asked for it. */
export interface OwnedChardev { readonly config: ChardevConfig; readonly origin: string }

/** One label once, one owner of the terminal, no terminal for a daemon. */
export function checkChardevs(chardevs: readonly OwnedChardev[], daemonize: boolean): void {
  const labels = new Set<string>()
  let terminal: OwnedChardev | undefined
  for (const owned of chardevs) {
    const { config, origin } = owned
    if (labels.has(config.label)) throw optionError('OPTION_CONFLICT', origin,
      `another character device has the id ${printable(config.label, 60)}; use another id`)
    labels.add(config.label)
    if (config.kind !== 'stdio') continue
    if (terminal !== undefined) throw optionError('OPTION_CONFLICT', `${terminal.origin} and ${origin}`,
      'only one can own standard input and output; give the other another back-end')
    if (daemonize) throw optionError('OPTION_CONFLICT', origin, 'a daemon has no terminal; leave out -daemonize or use another back-end')
    terminal = owned
  }
}

/**
 * Checks the files a configuration names, before anything is created.
 * @throws MesovirtError OPTION_FILE
 */
export function checkFiles(config: VmConfig): void {
  checkReadable('-kernel', config.boot.kernel)
  if (config.boot.initrd !== undefined) checkReadable('-initrd', config.boot.initrd)
}

function checkReadable(option: string, path: string): void {
  const where = `${option} ${path}`
  let stat: fs.Stats
  try {
    stat = fs.statSync(path)
    if (stat.isFile()) fs.accessSync(path, fs.constants.R_OK)
  } catch (error) {
    throw optionError('OPTION_FILE', where, fileProblem(error))
  }
  if (!stat.isFile()) throw optionError('OPTION_FILE', where, `is ${stat.isDirectory() ? 'a folder' : 'not a regular file'}; give the path of a file`)
}

function fileProblem(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error'
  switch (code) {
    case 'ENOENT': case 'ENOTDIR': return 'no such file; check the path'
    case 'EACCES': case 'EPERM': return 'no permission to read it; change its mode or its owner'
    default: return `cannot be read (${code}); check the path`
  }
}
