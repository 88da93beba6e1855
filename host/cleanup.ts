/** What must be undone when the process ends, however it ends: socket files, pid file, terminal mode. Left out: SIGKILL, which nobody can catch. */

/** One registered undo step. */
export interface Cleanup {
  /** Runs the step now and takes it off the registry. Later calls do nothing. */
  run(): void
  /** Takes the step off the registry without running it (somebody else has undone it). */
  forget(): void
}

/** Signals that end a process which does not handle them. */
const ENDING_SIGNALS = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM'] as const

type Step = (status?: number) => void

const steps = new Set<Step>()
let hooked = false

/**
 * Registers a synchronous step to run when the process ends: normal end, process.exit, uncaught exception, or an ending signal that nobody
 * else handles. Steps run last registered first; one that throws does not keep the others from running.
 * @param undo gets the exit status; undefined where a signal kills the process right after the steps, and from `Cleanup.run`
 */
export function onProcessEnd(undo: (status?: number) => void): Cleanup {
  const step: Step = (status) => undo(status)
  steps.add(step)
  hook()
  return {
    run() {
      if (!remove(step)) return
      undo()
    },
    forget() {
      remove(step)
    },
  }
}

/** Runs every registered step now. For exit paths that bypass the `exit` event, such as `_exit` through the FFI. */
export function runCleanup(status?: number): void {
  for (const step of [...steps].reverse()) {
    if (!steps.delete(step)) continue
    try {
      step(status)
    } catch {
      // The process is ending: the remaining steps matter more than this one.
    }
  }
  unhook()
}

function remove(step: Step): boolean {
  const wasThere = steps.delete(step)
  if (steps.size === 0) unhook()
  return wasThere
}

/** Listeners are there only while a step is, so that a process without anything to undo keeps Node's own signal behaviour. */
function hook(): void {
  if (hooked) return
  hooked = true
  process.on('exit', runCleanup)
  for (const signal of ENDING_SIGNALS) process.on(signal, endBySignal)
}

function unhook(): void {
  if (!hooked) return
  hooked = false
  process.off('exit', runCleanup)
  for (const signal of ENDING_SIGNALS) process.off(signal, endBySignal)
}

/** With another listener the signal is that listener's business, and the steps run at `exit`. Alone, die of the signal, as without us. */
function endBySignal(signal: NodeJS.Signals): void {
  if (process.listenerCount(signal) > 1) return
  runCleanup()
  process.kill(process.pid, signal)
}
