/** Debian's stock driver of the memory balloon: memory comes back to the host when it is asked for and when it becomes free, and what the process takes shows it. */
import fs from 'node:fs'
import { describe, expect, it } from 'vitest'
import { eventually, guests, linux, PROMPT, Run, withMonitor } from './support/vm.ts'

const MIB = 2 ** 20
const { initrd } = guests.devices

/** Bytes of memory that the process takes from the host. */
function resident(vm: Run): number {
  return Number(/^VmRSS:\s*(\d+) kB/m.exec(fs.readFileSync(`/proc/${vm.pid}/status`, 'utf8'))?.[1]) * 1024
}

async function shutDown(vm: Run): Promise<void> {
  vm.type('exit\n')
  expect(await vm.end()).toEqual({ status: 0, signal: null })
  expect(vm.err.all).toBe('')
}

/** MiB of a line of /proc/meminfo. */
const memory = async (vm: Run, line: string) => Number((await vm.shell(`grep ${line}: /proc/meminfo`)).split(/\s+/)[1]) / 1024

describe('a memory balloon', () => {
  it.each([['memory of its own', [], 'on'], ['memory that others can map', ['-machine', 'microvm,mem-share=on'], 'off']])('gives back what the monitor asks for, and the guest has it again: %s', async (_, machine, deflate) => {
    const { vm, qmp } = await withMonitor(linux({ args: [...machine, '-device', `virtio-balloon-device,id=balloon0,deflate-on-oom=${deflate}`], initrd }))
    await vm.out.until(PROMPT)
    // What was used once stays with the process.
    await vm.shell('dd if=/dev/zero of=/tmp/x bs=1M count=96 2>/dev/null; rm /tmp/x')
    const before = resident(vm), free = await memory(vm, 'MemFree'), total = await memory(vm, 'MemTotal')
    expect(await qmp.run('query-balloon')).toEqual({ actual: 256 * MIB })
    await qmp.run('balloon', { value: 128 * MIB })
    await eventually('memory of the guest', async () => (await qmp.run<{ actual: number }>('query-balloon')).actual === 128 * MIB)
    expect((await qmp.event('BALLOON_CHANGE')).data['actual']).toBeLessThan(256 * MIB)
    expect(free - await memory(vm, 'MemFree')).toBeGreaterThan(100)
    expect(total - await memory(vm, 'MemTotal')).toBe(deflate === 'on' ? 0 : 128)
    await eventually('less memory of the process', () => before - resident(vm) > 70 * MIB)
    await qmp.run('balloon', { value: 256 * MIB })
    await eventually('all memory', async () => (await qmp.run<{ actual: number }>('query-balloon')).actual === 256 * MIB)
    await eventually('the last news', () => qmp.events.filter(({ event }) => event === 'BALLOON_CHANGE').at(-1)?.data['actual'] === 256 * MIB)
    expect(await vm.shell('dd if=/dev/urandom of=/tmp/x bs=1M count=96 2>/dev/null; cp /tmp/x /tmp/y 2>/dev/null; wc -c < /tmp/x')).toBe(String(96 * MIB))
    await shutDown(vm)
  })

  it('gives pages back as they become free, unasked', async () => {
    const vm = new Run(linux({ args: ['-device', 'virtio-balloon-device,free-page-reporting=on'], initrd }))
    await vm.out.until(PROMPT)
    await vm.shell('dd if=/dev/zero of=/tmp/x bs=1M count=96 2>/dev/null')
    const before = resident(vm)
    await vm.shell('rm /tmp/x')
    await eventually('less memory of the process', () => before - resident(vm) > 70 * MIB)
    await shutDown(vm)
  })

  it('tells how the guest uses its memory, as often as it is asked', async () => {
    const { vm, qmp } = await withMonitor(linux({ args: ['-device', 'virtio-balloon-device,id=balloon0'], initrd }))
    await vm.out.until(PROMPT)
    const at = { path: '/machine/peripheral/balloon0' }
    const statistics = () => qmp.run<{ 'last-update': number; 'stats': Record<string, number> }>('qom-get', { ...at, property: 'guest-stats' })
    const free = async () => (await statistics()).stats['stat-free-memory'] ?? NaN
    expect((await statistics()).stats['stat-total-memory']).toBe(await memory(vm, 'MemTotal') * MIB)
    await qmp.run('qom-set', { ...at, property: 'guest-stats-polling-interval', value: 1 })
    const before = await free()
    await vm.shell('dd if=/dev/zero of=/tmp/x bs=1M count=64 2>/dev/null')
    await eventually('less free memory', async () => before - await free() > 50 * MIB)
    await shutDown(vm)
  })
})
