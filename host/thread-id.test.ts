import { readdirSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { expect, test } from 'vitest'
import { currentThreadId } from './thread-id.ts'

test('every thread has an id of its own that the system knows', async () => {
  const source = fileURLToPath(new URL('./thread-id.ts', import.meta.url))
  const contents = `import { currentThreadId } from ${JSON.stringify(source)}
    import { parentPort } from 'node:worker_threads'
    import { readdirSync } from 'node:fs'
    parentPort.postMessage({ id: currentThreadId(), known: process.platform === 'linux' ? readdirSync('/proc/self/task').map(Number) : [process.pid] })`
  const bundle = await build({
    stdin: { contents, resolveDir: '/', loader: 'ts' }, bundle: true, platform: 'node', format: 'cjs', write: false, external: ['koffi'],
    define: { 'import.meta.url': JSON.stringify(import.meta.url) },
  })
  const worker = new Worker(bundle.outputFiles[0]?.text ?? '', { eval: true })

  const [other] = (await once(worker, 'message')) as [{ id: number; known: number[] }]
  const own = currentThreadId()

  expect(other.known).toContain(other.id)
  if (process.platform === 'linux') {
    expect(readdirSync('/proc/self/task').map(Number)).toContain(own)
    expect(other.id).not.toBe(own)
  }
  await worker.terminate()
})
