/** One client of a monitor: its parser, the order of its replies and its queue of events. Knows nothing of sockets. */
import { setImmediate as turn } from 'node:timers/promises'
import { dispatch } from './dispatch.ts'
import { greetingLine } from './protocol.ts'
import { JsonStream } from './json-stream.ts'
import type { CommandContext } from './commands/define.ts'
import type { JsonItem } from './json-stream.ts'

/** Where a session's lines go. */
export interface Outlet {
  /** @returns false when the receiver is behind; the line is kept all the same */
  write(line: string): boolean
  /** Resolves when the receiver has caught up or is gone. */
  drained(): Promise<void>
  /** Nothing written is still on its way out of this process. */
  readonly empty: boolean
}

/** Events kept for a client that does not read, or whose command is not answered yet. Beyond it the oldest are dropped. */
export const MAX_QUEUED_EVENTS = 1024
/** Messages of one packet that are answered before other work gets its turn. */
const MESSAGES_PER_TURN = 64

export class QmpSession {
  private readonly outlet: Outlet
  private readonly context: CommandContext
  private readonly reportFault: (command: string, error: unknown) => void
  private readonly stream = new JsonStream()
  private readonly events: string[] = []
  /** From a command's start to its reply, and before the greeting: events wait, so that an event follows the reply of the command that caused it. */
  private holdsEvents = true
  private catchingUp: Promise<void> | undefined

  constructor(outlet: Outlet, context: CommandContext, reportFault: (command: string, error: unknown) => void) {
    this.outlet = outlet
    this.context = context
    this.reportFault = reportFault
  }

  /** Everything this client is to get has left the process. */
  get settled(): boolean {
    return !this.holdsEvents && this.events.length === 0 && this.outlet.empty
  }

  greet(): void {
    this.send(greetingLine(this.context.version))
    this.releaseEvents()
  }

  /** Answers every message that the bytes complete, in order. Resolves when that is done and the client has read enough of it. Not re-entrant. */
  feed(bytes: Uint8Array): Promise<void> {
    return this.answer(this.stream.push(bytes))
  }

  /** The client sends no more: answers what is left. */
  finish(): Promise<void> {
    return this.answer(this.stream.end())
  }

  /** Hands over an event line. Never blocks and keeps a bounded number. */
  event(line: string): void {
    if (!this.holdsEvents && this.catchingUp === undefined) {
      this.send(line)
      return
    }
    this.events.push(line)
    if (this.events.length > MAX_QUEUED_EVENTS) this.events.shift()
  }

  private async answer(items: Iterable<JsonItem>): Promise<void> {
    let answered = 0
    for (const item of items) {
      this.holdsEvents = true
      this.send(await dispatch(item, this.context, this.reportFault))
      this.releaseEvents()
      while (this.catchingUp !== undefined) await this.catchingUp
      answered += 1
      if (answered % MESSAGES_PER_TURN === 0) await turn()
    }
  }

  private send(line: string): void {
    if (this.outlet.write(line) || this.catchingUp !== undefined) return
    this.catchingUp = this.outlet.drained().then(() => {
      this.catchingUp = undefined
      if (!this.holdsEvents) this.releaseEvents()
    })
  }

  private releaseEvents(): void {
    this.holdsEvents = false
    while (this.catchingUp === undefined) {
      const line = this.events.shift()
      if (line === undefined) return
      this.send(line)
    }
  }
}
