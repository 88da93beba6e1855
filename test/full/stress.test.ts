/** Minutes of processes, pipes, files and signals on four processors: every answer right, the kernel content, our process bounded. */
import fs from 'node:fs'
import { expect, it } from 'vitest'
import { linux, PROMPT, Run } from '../support/vm.ts'

/** On one host processor everything takes its turns: a shorter time sees as many of them. */
const RUNS: [string, Load][] = [
  ['five minutes', { seconds: 300, command: [], accelerator: 'tcg,thread=multi' }],
  ['one processor of the host, a thread for each vCPU', { seconds: 120, command: ['taskset', '-c', '0'], accelerator: 'tcg,thread=multi' }],
  ['one processor of the host, as by default', { seconds: 120, command: ['taskset', '-c', '0'] }],
]

interface Load { readonly seconds: number; readonly command: readonly string[]; readonly accelerator?: string }
const MIB = 2 ** 20
/** Guest memory is shared, so it counts as resident; beside it the process needs about 150 MiB. */
const MOST_RESIDENT = (256 + 600) * MIB

/** One worker: the digest of the same data through ever different pipes has to stay the same. */
const WORKER = `worker() {
  want=$(seq 1 2000 | md5sum); n=0; bad=0
  while [ $(cut -d. -f1 /proc/uptime) -lt $1 ]; do
    for got in "$(seq 1 2000 | cat | md5sum)" "$(seq 1 2000 | gzip | gunzip | md5sum)" "$(seq 1 2000 | sort -r | sort -n | md5sum)" "$(seq 1 2000 >/tmp/f$2; sed -n p /tmp/f$2 | awk 1 | md5sum)"; do
      [ "$got" = "$want" ] || bad=$((bad + 1))
      n=$((n + 1))
    done
    (sleep 100 & kill -TERM $!; wait $!) 2>/dev/null
    dd if=/bin/busybox of=/tmp/b$2 bs=64k 2>/dev/null; chmod +x /tmp/b$2; [ "$(/tmp/b$2 echo $n)" = $n ] || bad=$((bad + 1))
    taskset -p $((1 << n / 4 % 4)) $$ >/dev/null
  done
  echo "worker $2 rounds $n bad $bad"
}`

it.for(RUNS)('stays right under load: %s', { timeout: 40 * 60_000 }, async ([, { seconds, command, accelerator }], { task }) => {
  const vm = new Run(linux({ args: ['-smp', '4', ...accelerator === undefined ? [] : ['-accel', accelerator]] }), { under: command })
  await vm.out.until(PROMPT)
  vm.type(`cat >/tmp/w.sh <<'THE-END'\n${WORKER}\nworker "$@"\nTHE-END\n`)
  await vm.out.until(`THE-END\r\n${PROMPT}`)
  vm.type(`end=$(($(cut -d. -f1 /proc/uptime) + ${seconds})); for i in 1 2 3 4 5; do sh /tmp/w.sh $end $i & done; wait; echo all-$((1 + 1))-done\n`)
  const text = await vm.out.until('all-2-done', 20 * 60_000)
  const workers = [...text.matchAll(/worker (\d) rounds (\d+) bad (\d+)/g)].map((match) => match.slice(1).map(Number))
  expect(workers.map(([worker]) => worker).sort()).toEqual([1, 2, 3, 4, 5])
  for (const [, rounds, bad] of workers) expect([Number(rounds) > 0, bad]).toEqual([true, 0])
  await vm.out.until(PROMPT)
  expect(await vm.shell('dmesg | grep -ciE "call trace|oops|BUG:|segfault|general protection|rcu.*stall|lockup|tsc.*warp|unstable"')).toBe('0')
  const resident = Number(/VmRSS:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${vm.pid}/status`, 'utf8'))?.[1]) * 1024
  expect(resident).toBeLessThan(MOST_RESIDENT)
  Object.assign(task.meta, { measured: `${workers.reduce((sum, [, rounds]) => sum + Number(rounds), 0)} pipelines right, ${Math.round(resident / MIB)} MiB resident at the end` })
  vm.type('exit\n')
  expect(await vm.end()).toEqual({ status: 0, signal: null })
  expect(vm.err.all).toBe('')
})
