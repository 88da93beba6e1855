/**
 * Several vCPU threads on one memory: who they are, locks, and waiting for one another. With one thread for all vCPUs nothing here does anything.
 *
 * Each thread has an instance of the core, so globals of the core are private to a vCPU; what several share lies in the shared memory (layout.ts).
 * The host keeps the order of x86 (stores in order, loads in order, a load may pass an earlier store to another place); atomic.* are full barriers.
 *
 * A thread tells of itself in two words that only it writes:
 *   CPU_IN_GUEST  1: it may hold pointers into decoded code. The world is stopped (stopWorld) when all others have 0 here.
 *   CPU_SEQUENCE  grows at each place where the thread has no store under way whose address it looked up earlier; odd while it stays at such a place (it
 *                 waits for a lock or for main, sleeps, or is outside the guest). Whoever takes a page out of the write TLBs of others waits until
 *                 their sequence has moved or is odd (awaitStores): then no store through an old entry can come any more.
 *
 * Order of locks: G_WIDE_LOCK before G_CODE_LOCK; G_CHIP_LOCK is taken with no other held, and nothing is locked inside it. Nobody calls main, or waits for
 * the world to stop, with a lock held.
 */
import {
  CPU_AREA, CPU_BARRIER, CPU_IN_GUEST, CPU_JIT_ENTRIES, CPU_RETIRED, CPU_JIT_RETIRED, CPU_SEQUENCE, CPU_STATS, CPU_STRIDE, CPU_WAKE, G_CPU_COUNT, G_JIT_ENTRIES,
  CPU_JIT_RUNS, G_JIT_RETIRED, G_JIT_RUNS, G_RETIRED, G_STATS, G_STOP, G_WAKE,
} from './layout'

/** Has each vCPU a thread of its own? */
export let multi: bool = false
/** The vCPU of this thread, while each has one. */
export let own: usize = 0
/** Where this thread counts. */
export let statsAt: usize = G_STATS
export let retiredAt: usize = G_RETIRED
export let translatedAt: usize = G_JIT_RETIRED
export let enteredAt: usize = G_JIT_ENTRIES
export let runsAt: usize = G_JIT_RUNS

/** This instance runs just the vCPU at `cpu`, in a thread of its own. */
export function attachCpu(cpu: usize): void {
  multi = true
  own = cpu
  statsAt = cpu + CPU_STATS
  retiredAt = cpu + CPU_RETIRED
  translatedAt = cpu + CPU_JIT_RETIRED
  enteredAt = cpu + CPU_JIT_ENTRIES
  runsAt = cpu + CPU_JIT_RUNS
  atomic.store<i32>(cpu + CPU_SEQUENCE, 1)
}

/** Full barrier, with threads only: what this thread stored is there before it loads anything else. (AssemblyScript's atomic.fence does not compile.) */
// @ts-ignore: decorator
@inline export function fence(): void { atomic.store<i32>(own + CPU_BARRIER, 0) }

/** Ends the sleep of the thread that runs this vCPU. */
export function wake(cpu: usize): void {
  const word: usize = multi ? cpu + CPU_WAKE : G_WAKE
  atomic.store<i32>(word, 1)
  if (!multi || cpu != own) atomic.notify(word, -1)
}

// ---- stores under way -------------------------------------------------------------------------------------------------------------

/** A place where no store is under way. */
// @ts-ignore: decorator
@inline export function noStore(): void {
  if (multi) atomic.store<i32>(own + CPU_SEQUENCE, load<i32>(own + CPU_SEQUENCE) + 2)
}

/** From here to `endQuiet` this thread stores nothing through an address that it has looked up before. @returns what endQuiet wants */
export function beginQuiet(): bool {
  if (!multi) return false
  const sequence = load<i32>(own + CPU_SEQUENCE)
  if (sequence & 1) return false
  atomic.store<i32>(own + CPU_SEQUENCE, sequence + 1)
  return true
}
export function endQuiet(begun: bool): void {
  if (begun) atomic.store<i32>(own + CPU_SEQUENCE, load<i32>(own + CPU_SEQUENCE) + 1)
}

/** Returns when stores that another vCPU had under way have happened. */
export function awaitStores(cpu: usize): void {
  const word: usize = cpu + CPU_SEQUENCE
  const before = atomic.load<i32>(word)
  if (before & 1) return
  for (let i: u32 = 0; atomic.load<i32>(word) == before; i++) if (i >= SPINS) atomic.wait<i32>(word, before, NAP)
}

// ---- locks ------------------------------------------------------------------------------------------------------------------------
// 0 free, 1 held, 2 held and somebody sleeps for it.

const SPINS: u32 = 300
/** ns; sleeps end by a notification, or after this time where nobody notifies */
const NAP: i64 = 30000
const LONG_NAP: i64 = 10000000

/** Takes a lock. The thread has no store under way here. */
// @ts-ignore: decorator
@inline export function acquire(lock: usize): void {
  if (multi && atomic.cmpxchg<i32>(lock, 0, 1) != 0) contend(lock)
}
// @ts-ignore: decorator
@inline export function release(lock: usize): void {
  if (multi && atomic.xchg<i32>(lock, 0) == 2) atomic.notify(lock, 1)
}

function contend(lock: usize): void {
  const quiet = beginQuiet()
  let taken = false
  for (let i: u32 = 0; i < SPINS && !taken; i++) taken = atomic.load<i32>(lock) == 0 && atomic.cmpxchg<i32>(lock, 0, 1) == 0
  if (!taken) while (atomic.xchg<i32>(lock, 2) != 0) atomic.wait<i32>(lock, 2, LONG_NAP)
  endQuiet(quiet)
}

// ---- the world --------------------------------------------------------------------------------------------------------------------

/** Before guest code: waits while another vCPU has stopped the world. */
export function enterGuest(): void {
  while (true) {
    atomic.store<i32>(own + CPU_IN_GUEST, 1)
    const stopper = atomic.load<i32>(G_STOP)
    if (!stopper) break
    outside()
    atomic.wait<i32>(G_STOP, stopper, LONG_NAP)
  }
  atomic.store<i32>(own + CPU_SEQUENCE, load<i32>(own + CPU_SEQUENCE) + 1)
}

export function leaveGuest(): void {
  atomic.store<i32>(own + CPU_SEQUENCE, load<i32>(own + CPU_SEQUENCE) + 1)
  outside()
}

function outside(): void {
  atomic.store<i32>(own + CPU_IN_GUEST, 0)
  if (atomic.load<i32>(G_STOP)) atomic.notify(own + CPU_IN_GUEST, -1)
}

/** Outside the guest: returns when no other vCPU is in it; none enters before `resumeWorld`. */
export function stopWorld(): void {
  while (true) {
    const stopper = atomic.cmpxchg<i32>(G_STOP, 0, 1)
    if (!stopper) break
    atomic.wait<i32>(G_STOP, stopper, LONG_NAP)
  }
  for (let i: u32 = 0, n = load<u32>(G_CPU_COUNT); i < n; i++) {
    const word: usize = <usize>CPU_AREA + i * CPU_STRIDE + CPU_IN_GUEST
    for (let k: u32 = 0; atomic.load<i32>(word); k++) if (k >= SPINS) atomic.wait<i32>(word, 1, LONG_NAP)
  }
}

export function resumeWorld(): void {
  atomic.store<i32>(G_STOP, 0)
  atomic.notify(G_STOP, -1)
}
