/** The Ctrl-A commands of a console on a terminal, as QEMU's users know them: x quits, h helps, Ctrl-A sends itself. Left out: s, b, c, t. */

const CTRL_A = 0x01

export const ESCAPE_HELP = '\r\nCtrl-A h      this help\r\nCtrl-A x      quit the virtual machine\r\nCtrl-A Ctrl-A send Ctrl-A to the guest\r\n'

export interface EscapeActions {
  readonly quit: () => void
  /** Shows text on the terminal, not to the guest. */
  readonly show: (text: string) => void
}

/** Takes commands out of a byte stream; a command may be split over two chunks. */
export class EscapeFilter {
  readonly #actions: EscapeActions
  #escaped = false

  constructor(actions: EscapeActions) {
    this.#actions = actions
  }

  /** @returns the bytes that are for the guest */
  filter(bytes: Uint8Array): Uint8Array {
    if (!this.#escaped && !bytes.includes(CTRL_A)) return bytes
    const guest: number[] = []
    for (const byte of bytes) {
      if (!this.#escaped) {
        if (byte === CTRL_A) this.#escaped = true
        else guest.push(byte)
        continue
      }
      this.#escaped = false
      if (byte === CTRL_A) guest.push(byte)
      else this.#command(String.fromCharCode(byte))
    }
    return Uint8Array.from(guest)
  }

  #command(key: string): void {
    switch (key.toLowerCase()) {
      case 'x': this.#actions.quit(); break
      case 'h':
      case '?': this.#actions.show(ESCAPE_HELP); break
      default: this.#actions.show('\r\nUnknown Ctrl-A command, Ctrl-A h shows what there is\r\n')
    }
  }
}
