import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import type { BusServer } from './bus-server.ts'

/** Starts real vCPU workers for tests and for bus-latency.ts: bundles the worker file, which Node 20 cannot run as TypeScript. */
export interface BusWorkerTask {
  readonly task: 'stress' | 'interrupts' | 'hang' | 'latency'
  readonly slot: number
  readonly seed: number
  readonly rounds: number
  /** words the test shares with the worker */
  readonly shared: SharedArrayBuffer
}

let code: Promise<string> | undefined

async function bundle(): Promise<string> {
  const { build } = await import('esbuild')
  const entry = process.argv[1]?.endsWith('bus-latency.ts') ? 'address-space/bus-worker.fixture.worker.ts'
    : fileURLToPath(new URL('./bus-worker.fixture.worker.ts', import.meta.url))
  const { outputFiles } = await build({ entryPoints: [entry], bundle: true, platform: 'node', format: 'cjs', target: 'node20', write: false, logLevel: 'warning' })
  return outputFiles[0]?.text ?? ''
}

/** Resolves with the worker's report when it ends. */
export async function startBusWorker(server: BusServer, task: BusWorkerTask): Promise<unknown> {
  code ??= bundle()
  const source = await code
  const connection = server.connect(task.slot)
  const worker = new Worker(source, { eval: true, workerData: { ...task, connection }, transferList: [connection.port] })
  return await new Promise((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
    worker.once('exit', () => reject(new Error('the worker ended without a report')))
  })
}
