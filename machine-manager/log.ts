/**
 * The log of -D, in StratoVirt's line format (`2026-01-31T12:00:00.123456789: [pid][tid][file: line]: INFO: text`), so that callers which
 * look for `:INFO: ` keep working. A log never blocks and never fails the machine: what cannot be written is dropped and counted.
 */
import { LogSink } from './log-sink.ts'
import type { LogConfig } from './options/config.ts'

export const LOG_LEVELS = ['error', 'warn', 'info', 'debug', 'trace'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

export type Logger = Readonly<Record<LogLevel, (text: string) => void>>

let sink: LogSink | undefined
let threshold: number = LOG_LEVELS.indexOf('info')
const startNs = BigInt(Math.round(performance.timeOrigin * 1e3)) * 1000n

/** The level that MESOVIRT_LOG_LEVEL, or else STRATOVIRT_LOG_LEVEL, asks for; info for anything unknown. */
export function levelFromEnvironment(environment: NodeJS.ProcessEnv): LogLevel {
  const word = (environment['MESOVIRT_LOG_LEVEL'] ?? environment['STRATOVIRT_LOG_LEVEL'] ?? '').toLowerCase()
  return LOG_LEVELS.find((level) => level === word) ?? 'info'
}

/**
 * Sends the log where -D says. Without -D only errors and warnings are seen, as `mesovirt: text` on standard error.
 * @throws MesovirtError LOG_FILE if the file cannot be opened
 */
export function openLog(config: LogConfig, environment: NodeJS.ProcessEnv = process.env): void {
  closeLog()
  threshold = LOG_LEVELS.indexOf(levelFromEnvironment(environment))
  if (config.kind !== 'none') sink = config.kind === 'file' ? LogSink.file(config.path) : LogSink.descriptor(2)
}

/** Writes out what waits, as far as it goes without blocking, and closes the log. */
export function closeLog(): void {
  sink?.close()
  sink = undefined
}

/**
 * A logger for one source file.
 * @param subject what stands for the file in each line, e.g. `lifecycle`
 */
export function logger(subject: string): Logger {
  const at = (level: LogLevel) => (text: string) => write(level, subject, text)
  return { error: at('error'), warn: at('warn'), info: at('info'), debug: at('debug'), trace: at('trace') }
}

function write(level: LogLevel, subject: string, text: string): void {
  if (LOG_LEVELS.indexOf(level) > threshold) return
  const line = oneLine(text)
  if (sink === undefined) {
    if (level === 'error' || level === 'warn') (plain ??= LogSink.descriptor(2)).write(`mesovirt: ${line}\n`)
    return
  }
  sink.write(formatLine(level, subject, callerLine(), line, startNs + BigInt(Math.round(performance.now() * 1e6))))
}

let plain: LogSink | undefined

/** Lines as they are, without time and level: to the file of -D, or to standard error. */
export function writeLines(text: string): void {
  (sink ?? (plain ??= LogSink.descriptor(2))).write(text)
}

/** One line of the log. @param timeNs nanoseconds since 1970, UTC */
export function formatLine(level: LogLevel, subject: string, lineNumber: number, text: string, timeNs: bigint): string {
  const seconds = new Date(Number(timeNs / 1_000_000n)).toISOString().slice(0, 19)
  const fraction = String(timeNs % 1_000_000_000n).padStart(9, '0')
  // All logging is done by the main thread, whose thread id on Linux is the process id.
  return `${seconds}.${fraction}: [${process.pid}][${process.pid}][${subject}: ${lineNumber}]: ${level.toUpperCase()}: ${text}\n`
}

/** Line of the caller of the logger, in the file that runs (the bundle, in a release). */
function callerLine(): number {
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 4
  const frame = new Error().stack?.split('\n')[4] ?? ''
  Error.stackTraceLimit = limit
  return Number(/:(\d+):\d+\)?$/.exec(frame)?.[1] ?? 0)
}

/** Text of guests and sockets must not fake log lines. */
function oneLine(text: string): string {
  const escape = (letter: string) => (letter === '\t' ? ' ' : `\\x${letter.charCodeAt(0).toString(16).padStart(2, '0')}`)
  return text.slice(0, 4096).replace(/[\u0000-\u001f\u007f]/g, escape)
}
