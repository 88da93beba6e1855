/** Character device that swallows output and has no input. */
import type { CharBackend } from '../contracts.ts'

export class NullBackend implements CharBackend {
  readonly label: string
  readonly kind = 'null'
  readonly filename = 'null'
  readonly connected = true

  constructor(label: string) {
    this.label = label
  }

  write(): void {}
  onInput(): void {}
  setFlow(): void {}
  async close(): Promise<void> {}
}
