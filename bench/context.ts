/** What every part of the bench gets. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { cachedInitramfs, fetchGuest } from '../src/guest/fetch-guest.ts'
import type { Flavour, Guest } from '../src/guest/fetch-guest.ts'
import type { Build, Side } from './machine-process.ts'
import type { Figure } from './statistics.ts'

export interface Context {
  readonly rounds: number
  readonly build: Build
  /** ours, and QEMU where there is one */
  readonly sides: readonly Side[]
  /** also the slow rows */
  readonly all: boolean
  /** An empty folder, removed at the end. */
  readonly folder: string
  /** Tells a person what is going on. */
  readonly step: (text: string) => void
  /** Adds a line on what was measured to the report. */
  readonly note: (text: string) => void
}

export type Bench = (context: Context) => Promise<readonly Figure[]>

/** Printed by BENCH_SCRIPT when user space runs. */
export const MARKER = 'bench: user space'
/** Says that user space runs and waits for a line; then the guest's init powers off, or the line asks for a reset, which ends a machine that cannot be powered off. */
const BENCH_SCRIPT = `#!/bin/sh
echo '${MARKER}'
read -r line
[ "$line" = reset ] && reboot -f
`
/** Where kernels and initramfs lie. */
export const BENCH_CACHE = path.join('.cache', 'guest')

/** Kernel, its ELF, the usual initramfs, and one that runs BENCH_SCRIPT. */
export async function benchGuest(flavour: Flavour): Promise<Guest & { readonly elf: string; readonly benchInitrd: string }> {
  const guest = await fetchGuest({ cacheDir: BENCH_CACHE, flavour, vmlinux: true })
  if (guest.vmlinux === undefined) throw new Error(`${guest.kernel} was not unpacked`)
  const benchInitrd = cachedInitramfs(path.resolve(BENCH_CACHE), {
    busybox: fs.readFileSync(guest.busybox), extraFiles: { 'run-at-boot': { content: BENCH_SCRIPT, mode: 0o755 } },
  })
  return { ...guest, elf: guest.vmlinux, benchInitrd }
}

export function makeFolder(): string {
  return fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-bench-'))
}

/** The values of one side, undefined where that side was not measured. */
export function valuesOf<T>(rounds: ReadonlyMap<Side, readonly T[]>, side: Side, value: (round: T) => number | undefined): number[] | undefined {
  const found = rounds.get(side)?.map(value).filter((number): number is number => number !== undefined)
  return found === undefined || found.length === 0 ? undefined : found
}

/** Runs both sides in turns. */
export async function inTurns<T>(sides: readonly Side[], rounds: number, run: (side: Side, round: number) => Promise<T>): Promise<Map<Side, T[]>> {
  const results = new Map<Side, T[]>()
  for (let round = 0; round < rounds; round++) {
    for (const side of sides) results.set(side, [...results.get(side) ?? [], await run(side, round)])
  }
  return results
}
