/** Code that changes, at length: everything by which Linux rewrites itself, and a guest that makes new code for minutes. */
import fs from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { makingFunctions, MIB } from '../support/code-guest.ts'
import { guests, linux, PROMPT, Run, scratch, withMonitor } from '../support/vm.ts'

const PATIENCE_MS = 20 * 60_000
const ROUNDS = 5
/** Debian's generic kernel has some 38 000 calls that the function tracer patches. */
const LEAST_SITES = 30_000
/** A stall of RCU is none of it: on a host with more work than processors a vCPU may be away for as long as that takes. */
const TROUBLE = 'call trace|oops|BUG:|general protection|jump_label|ftrace bug|text-patching'

it.each([1, 2])('Linux patches itself as it likes: function tracer, kprobes, static keys, tracepoints, modules, processors, -smp %i', async (cpus) => {
  const vm = new Run(linux({ kernel: guests.generic.vmlinux, initrd: guests.generic.initrd, args: ['-smp', String(cpus)] }))
  await vm.out.until(PROMPT, PATIENCE_MS)
  const shell = (command: string): Promise<string> => vm.shell(command)
  const lines = (text: string, line: string): void => expect(text.split('\n')).toEqual(Array.from({ length: ROUNDS }, () => line))
  const count = `$(seq ${ROUNDS})`
  const T = '/sys/kernel/tracing'
  await shell(`mount -t tracefs t ${T}; echo 32 > ${T}/buffer_size_kb`)
  expect(Number((await shell(`cat ${T}/dyn_ftrace_total_info`)).split(' ')[0])).toBeGreaterThan(LEAST_SITES)

  const traced = await shell(`for i in ${count}; do echo 1 > ${T}/tracing_on; echo function > ${T}/current_tracer; cat /etc/passwd > /dev/null; echo 0 > ${T}/tracing_on; grep -c '<-' ${T}/trace; echo nop > ${T}/current_tracer; done`)
  expect(traced.split('\n').map((n) => Number(n) > 100)).toEqual(Array.from({ length: ROUNDS }, () => true))

  await shell(`echo 'p:one vfs_open' > ${T}/kprobe_events; echo 'r:two vfs_open' >> ${T}/kprobe_events; echo 1 > ${T}/tracing_on`)
  // An optimised probe becomes a jump a moment after it was set.
  lines(await shell(`for i in ${count}; do echo > ${T}/trace; echo 1 > ${T}/events/kprobes/enable; cat /etc/passwd > /dev/null; sleep 1; cat /etc/passwd > /dev/null; echo 0 > ${T}/events/kprobes/enable; grep -q 'one:' ${T}/trace && grep -q 'two:' ${T}/trace && echo probed; done`), 'probed')
  await shell(`echo > ${T}/kprobe_events`)

  lines(await shell(`for i in ${count}; do echo 1 > /proc/sys/kernel/sched_schedstats; a=$(cut -d' ' -f2 /proc/self/schedstat); echo 0 > /proc/sys/kernel/sched_schedstats; echo key; done`), 'key')
  lines(await shell(`for i in ${count}; do echo > ${T}/trace; echo 1 > ${T}/events/sched/enable; sleep 0.2; echo 0 > ${T}/events/sched/enable; grep -q sched_switch ${T}/trace && echo point; done`), 'point')
  lines(await shell(`kill $(cat /run/acpid.pid); sleep 1; for i in ${count}; do rmmod evdev; grep -c ^evdev /proc/modules; insmod /lib/modules/*evdev.ko && grep -q ^evdev /proc/modules && echo loaded; done | grep -v 0`), 'loaded')
  if (cpus > 1) lines(await shell(`for i in ${count}; do echo 0 > /sys/devices/system/cpu/cpu1/online; cat /sys/devices/system/cpu/online; echo 1 > /sys/devices/system/cpu/cpu1/online; done`), '0')
  // All of it at once, with work beside it.
  // In a shell of its own, which says nothing of jobs.
  await shell(`sh -c '(while :; do cat /etc/passwd > /dev/null; done) & for i in 1 2; do echo function > ${T}/current_tracer; echo 1 > ${T}/events/sched/enable; echo nop > ${T}/current_tracer; echo 0 > ${T}/events/sched/enable; done; kill $!'`)
  expect(await shell(`dmesg | grep -iE '${TROUBLE}'`)).toBe('')
  vm.type('exit\n')
  expect(await vm.end()).toEqual({ status: 0, signal: null })
}, 3 * PATIENCE_MS)

/** A week's worth of new code in little: 65,536 functions, written anew round after round. */
it('memory and regions stay bounded while a guest makes new code for three minutes', async ({ task }) => {
  const kernel = path.join(scratch(), 'kernel')
  fs.writeFileSync(kernel, makingFunctions(32 * MIB, 48 * MIB, 256))
  const MINUTES = 3, SETTLE_S = 60, EVERY_S = 10
  // The function is called 4 times: 3 make it hot.
  const { vm, qmp } = await withMonitor(['-machine', 'microvm', '-accel', 'tcg,translator=on', '-m', '128', '-kernel', kernel, '-serial', 'null'])
  const rss = (): number => Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${vm.pid}/status`, 'utf8'))?.[1]) / 1024
  const jit = async (name: string): Promise<number> => Number(new RegExp(`^${name}: (\\d+)`, 'm').exec(String(await qmp.run('human-monitor-command', { 'command-line': 'info jit' })))?.[1])
  const seen: { readonly mib: number; readonly alive: number }[] = []
  for (let second = 0; second < MINUTES * 60; second += EVERY_S) {
    await new Promise((resolve) => setTimeout(resolve, EVERY_S * 1000))
    seen.push({ mib: rss(), alive: await jit('entries into regions alive') })
  }
  const settled = seen.slice(SETTLE_S / EVERY_S)
  Object.assign(task.meta, { measured: seen.map(({ mib, alive }) => `${mib.toFixed(0)} MiB, ${alive} regions`).join('; ') })
  expect(Math.max(...settled.map(({ alive }) => alive))).toBeLessThanOrEqual(16_384)
  expect(Math.max(...settled.map(({ mib }) => mib))).toBeLessThan(Math.min(...settled.map(({ mib }) => mib)) * 2 + 200)
  await vm.kill()
}, 20 * 60_000)
