/** Test part: a vhost-user back end of our own in a thread, honest or not. Bundles the worker file, which Node 20 cannot run as TypeScript. */
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'

export type Mischief =
  /** It answers no request of this type any more. */
  | { readonly kind: 'silent'; readonly request: number }
  /** It closes the connection at a request of this type. */
  | { readonly kind: 'closes'; readonly request: number }
  /** It sends these bytes instead of the answer to a request of this type. */
  | { readonly kind: 'answers'; readonly request: number; readonly bytes: readonly number[] }
  /** It says of each buffer that it is another one. */
  | { readonly kind: 'other-buffers' }
  /** It says it has done more than it was given. */
  | { readonly kind: 'runs-ahead' }
  /** It takes buffers and never gives them back. */
  | { readonly kind: 'keeps' }

export interface BackEndTask {
  readonly path: string
  /**
   * `echo`: what can be read is copied to what can be written. `cable`: what is sent on queue 1 is received on queue 0. `host`: a host at the other end of that
   * cable, which answers ARP and pings for every address.
   */
  readonly service: 'echo' | 'cable' | 'host'
  /** Feature bits it offers, protocol features included. */
  readonly features: bigint
  /** Bits of GET_PROTOCOL_FEATURES. */
  readonly protocol: bigint
  readonly queues: number
  readonly mischief?: Mischief | undefined
}

export interface BackEnd {
  /** What it was asked, in order: request types. */
  requests(): Promise<readonly number[]>
  /** It ends, as a process that is killed does: its connection is closed. */
  end(): Promise<void>
}

const VERSION_1 = 1n << 32n, PROTOCOL = 1n << 30n, MQ = 1n, REPLY_ACK = 1n << 3n
export const HONEST = { service: 'echo', features: VERSION_1 | PROTOCOL, protocol: MQ | REPLY_ACK, queues: 8 } as const

let code: Promise<string> | undefined

async function bundle(): Promise<string> {
  const { build } = await import('esbuild')
  const entry = fileURLToPath(new URL('./back-end.fixture.worker.ts', import.meta.url))
  const { outputFiles } = await build({ entryPoints: [entry], bundle: true, platform: 'node', format: 'cjs', target: 'node20', write: false, external: ['koffi'], define: { 'import.meta.url': JSON.stringify(import.meta.url) }, logLevel: 'warning' })
  return outputFiles[0]?.text ?? ''
}

/** Resolves when it listens. */
export async function startBackEnd(task: Partial<BackEndTask> & Pick<BackEndTask, 'path'>): Promise<BackEnd> {
  code ??= bundle()
  const stop = new Int32Array(new SharedArrayBuffer(4))
  const worker = new Worker(await code, { eval: true, workerData: { ...HONEST, ...task, stop } })
  const gone = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
  let requests: readonly number[] = []
  await new Promise<void>((resolve, reject) => {
    worker.on('message', (message: 'listening' | readonly number[]) => {
      if (message === 'listening') resolve()
      else requests = message
    })
    worker.once('error', reject)
  })
  const end = async () => {
    Atomics.store(stop, 0, 1)
    await gone
  }
  return {
    end,
    async requests() {
      await end()
      return requests
    },
  }
}

/** Waits for what comes by way of the other thread. */
export async function until(what: string, done: () => boolean): Promise<void> {
  const deadline = Date.now() + 20_000
  while (!done()) {
    if (Date.now() > deadline) throw new Error(`waited for ${what} in vain`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
