/** The one error class of the project: a stable code for programs, a message that says what happened and what to do for people. */
export class MesovirtError extends Error {
  readonly code: string
  /** @param code stable, upper-case with underscores, e.g. `KERNEL_DAMAGED`; @param message one line, no trailing stop needed */
  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'MesovirtError'
    this.code = code
  }
}
