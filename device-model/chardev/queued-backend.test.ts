import { expect, it } from 'vitest'
import { QueuedBackend } from './queued-backend.ts'
import type { OutputWriter } from './writers.ts'

const DRAIN_MS = 250

class Recorder extends QueuedBackend {
  readonly kind = 'recorder'
  readonly filename = 'recorder'
  readonly steps: string[] = []
  protected readonly writer: OutputWriter = {
    dropped: 7, queued: 0, onShrink: undefined,
    write: (bytes) => { this.steps.push(`write ${bytes.length}`) },
    drain: async (timeoutMs) => { this.steps.push(`drain ${timeoutMs}`) },
    stop: () => { this.steps.push('stop') },
  }

  constructor() {
    super('recorder', DRAIN_MS)
  }

  protected override stopInput(): void {
    this.steps.push('stop input')
    this.gate.accept(Uint8Array.of(1))
  }

  protected release(): void {
    this.steps.push('release')
  }
}

it('ends once: input stops, what is queued goes out, then the device is let go', async () => {
  const backend = new Recorder()
  backend.write(Uint8Array.of(1, 2, 3))

  await backend.close()
  await backend.close()

  expect(backend.steps).toEqual(['write 3', 'stop input', 'drain 250', 'stop', 'release'])
  expect(backend.dropped).toBe(7)
})

it('gives no input to its device once it ends', async () => {
  const backend = new Recorder()
  const received: Uint8Array[] = []
  backend.onInput((bytes) => received.push(bytes))
  backend.setFlow(true)

  await backend.close()

  expect(received).toEqual([])
})
