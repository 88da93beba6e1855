/** The Ctrl-A commands of a console, as QEMU's users know them. Left out: s, for disks are written as the guest writes them. */

const CTRL_A = 0x01

/** What keys do. Those that are not there are not offered. */
export interface EscapeActions {
  readonly quit: () => void
  /** Shows text on the terminal, not to the guest. */
  readonly show: (text: string) => void
  /** Gives what is typed to the next of those that share the terminal. */
  readonly next?: () => void
  /** Switches a time in front of each line on or off. */
  readonly timestamps?: () => void
  readonly sendBreak?: () => void
}

/** Takes commands out of a byte stream; a command may be split over two chunks. */
export class EscapeFilter {
  readonly #actions: EscapeActions
  #escaped = false

  constructor(actions: EscapeActions) {
    this.#actions = actions
  }

  /** @param deliver gets the bytes that are for the guest, those before a command before it acts */
  feed(bytes: Uint8Array, deliver: (bytes: Uint8Array) => void): void {
    let from = 0
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at] ?? 0
      if (!this.#escaped && byte !== CTRL_A) continue
      if (!this.#escaped) {
        if (at > from) deliver(bytes.subarray(from, at))
        this.#escaped = true
        from = at + 1
        continue
      }
      this.#escaped = false
      // A second Ctrl-A is the one that is sent.
      from = byte === CTRL_A ? at : at + 1
      if (byte !== CTRL_A) this.#command(String.fromCharCode(byte))
    }
    if (from < bytes.length) deliver(bytes.subarray(from))
  }

  #command(key: string): void {
    const { quit, show, next, timestamps, sendBreak } = this.#actions
    const action = { x: quit, c: next, t: timestamps, b: sendBreak, h: () => show(this.#help()), '?': () => show(this.#help()) }[key.toLowerCase()]
    if (action === undefined) show('\r\nUnknown Ctrl-A command, Ctrl-A h shows what there is\r\n')
    else action()
  }

  #help(): string {
    const { next, timestamps, sendBreak } = this.#actions
    const rows = [
      ['h     ', 'this help'], ['x     ', 'quit the virtual machine'],
      ...next === undefined ? [] : [['c     ', 'switch to the next of those that share this terminal']],
      ...timestamps === undefined ? [] : [['t     ', 'a time in front of each line, or none']],
      ...sendBreak === undefined ? [] : [['b     ', 'send a break']],
      ['Ctrl-A', 'send Ctrl-A to the guest'],
    ]
    return `\r\n${rows.map(([key, what]) => `Ctrl-A ${key} ${what}\r\n`).join('')}`
  }
}
