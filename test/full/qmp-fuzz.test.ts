/** QMP takes any bytes: after each batch of mutated commands and noise the monitor answers, the machine goes on, and the process does not grow. */
import fs from 'node:fs'
import { expect, it } from 'vitest'
import { bareMachine, ticking } from '../support/bare-guest.ts'
import { Qmp } from '../support/qmp.ts'
import { eventually, scratch, withMonitor } from '../support/vm.ts'

const BATCHES = 600, MESSAGES = 60
const MIB = 2 ** 20
/** RAM of 128 MiB, and what a Node process with full buffers may need beside it. */
const MOST_RESIDENT = (128 + 600) * MIB

const COMMANDS = [
  { execute: 'query-status' }, { execute: 'query-cpus', id: [1, { a: null }] }, { execute: 'query-commands' }, { execute: 'stop' }, { execute: 'cont' }, { execute: 'query-chardev', id: 'x' },
  { execute: 'human-monitor-command', arguments: { 'command-line': 'info registers' } }, { execute: 'human-monitor-command', arguments: { 'command-line': 'xp /64bx 0x7000' } },
  { execute: 'human-monitor-command', arguments: { 'command-line': 'x /3gx $rip+(2*8)', 'cpu-index': 0 } }, { execute: 'system_reset' }, { execute: 'qmp_capabilities', arguments: { enable: [] } },
].map((command) => JSON.stringify(command))
const TOKENS = ['{', '}', '[', ']', '"', "'", ',', ':', '\\', '\\u12', '\n', '\r\n', '\0', '\xff', '1e999', '-', '{"execute":', '"arguments":{', 'null', ' '.repeat(50), '['.repeat(2000), '{"a":'.repeat(500), '9'.repeat(400)]

/** Numbers that repeat (xorshift), so that a failure can be looked into. */
function random(seed: number): (below: number) => number {
  let state = seed >>> 0 || 1
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

function message(pick: (below: number) => number): Buffer {
  const text = Buffer.from(COMMANDS[pick(COMMANDS.length)] as string, 'latin1')
  const token = () => Buffer.from(TOKENS[pick(TOKENS.length)] as string, 'latin1')
  switch (pick(6)) {
    case 0: return text
    case 1: return text.subarray(0, pick(text.length))
    case 2: return Buffer.concat([text.subarray(0, pick(text.length)), token(), text.subarray(pick(text.length))])
    case 3: {
      const changed = Buffer.from(text)
      for (let count = 1 + pick(4); count > 0; count--) changed[pick(changed.length)] = pick(256)
      return changed
    }
    case 4: return Buffer.concat(Array.from({ length: pick(20) }, token))
    default: return Buffer.from(Array.from({ length: pick(300) }, () => pick(256)))
  }
}

it('stays usable whatever it is sent', async ({ task }) => {
  const { vm, qmp, socket } = await withMonitor(bareMachine(scratch(), ticking()))
  await qmp.close()
  let sent = 0, replies = 0
  for (let batch = 1; batch <= BATCHES; batch++) {
    const pick = random(batch * 2_654_435_761)
    const raw = await eventually('the monitor', () => Qmp.dial({ path: socket }).catch(() => undefined))
    let text = ''
    raw.setEncoding('utf8').on('data', (chunk: string) => { text += chunk }).on('error', () => undefined)
    for (let count = 0; count < MESSAGES; count++) {
      const bytes = message(pick)
      const cut = pick(4) === 0 ? pick(bytes.length + 1) : bytes.length
      raw.write(bytes.subarray(0, cut))
      raw.write(bytes.subarray(cut))
      sent += bytes.length
    }
    const id = `batch-${batch}`
    // 0xff ends whatever is half-read.
    raw.write(Buffer.concat([Buffer.from([0xff]), Buffer.from(`\n{"execute":"query-status","id":"${id}"}\n`)]))
    await eventually(`the answer after batch ${batch}`, () => text.includes(`"id": "${id}"`) || text.includes(`"id":"${id}"`))
    for (const line of text.split('\r\n').slice(0, -1)) expect(JSON.parse(line), `batch ${batch}`).toBeTypeOf('object')
    replies += text.split('\r\n').length
    if (pick(3) === 0) raw.destroy()
    else raw.end()
  }
  const after = await Qmp.connect({ path: socket })
  await after.run('system_reset')
  await after.run('cont')
  expect(await after.status()).toBe('running')
  const resident = Number(/VmRSS:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${vm.pid}/status`, 'utf8'))?.[1]) * 1024
  expect(resident).toBeLessThan(MOST_RESIDENT)
  Object.assign(task.meta, { measured: `${BATCHES * MESSAGES} messages, ${sent} bytes, ${replies} lines back, ${Math.round(resident / MIB)} MiB resident at the end` })
  await after.run('quit')
  expect(await vm.end()).toEqual({ status: 0, signal: null })
  expect(vm.err.all).toBe('')
}, 30 * 60_000)
