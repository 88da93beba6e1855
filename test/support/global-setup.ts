/** Once per run of the machine tests: builds dist/ as users do, fetches the Debian guests through the binary, and tells the tests where all of it is. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import type { TestProject } from 'vitest/node'
import { DEVICE_MODULES } from './device-modules.ts'

/** `devices` is the cloud kernel with drivers that its usual initramfs lacks. */
export interface Guests { readonly cloud: GuestFiles; readonly generic: GuestFiles; readonly devices: GuestFiles }

export interface GuestFiles { readonly kernel: string; readonly vmlinux: string; readonly initrd: string }

declare module 'vitest' {
  interface ProvidedContext {
    guests: Guests
  }
}

const root = path.resolve(import.meta.dirname, '../..')

export default function setup(project: TestProject): void {
  // In the lab of `npm run test:kvm` all of it came along.
  const brought = process.env['MESOVIRT_TEST_GUESTS']
  if (brought !== undefined) {
    project.provide('guests', JSON.parse(brought) as Guests)
    return
  }
  run('the build', ['scripts/build.mjs'])
  project.provide('guests', { cloud: fetch('cloud'), generic: fetch('generic'), devices: fetch('cloud', ['--modules', ...DEVICE_MODULES]) })
}

function fetch(flavour: string, more: readonly string[] = []): GuestFiles {
  const lines = run(`fetching the ${flavour} guest`, ['dist/mesovirt.js', 'guest', '--vmlinux', '--flavour', flavour, ...more])
  const file = (name: string): string => {
    const found = new RegExp(`^${name} (.+)$`, 'm').exec(lines)?.[1]
    if (found === undefined || !fs.existsSync(found)) throw new Error(`mesovirt guest --flavour ${flavour} names no ${name} that exists: ${JSON.stringify(lines)}`)
    return found
  }
  return { kernel: file('kernel'), vmlinux: file('vmlinux'), initrd: file('initrd') }
}

function run(what: string, argv: readonly string[]): string {
  const { status, signal, stdout, stderr, error } = spawnSync(process.execPath, argv, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  if (status === 0) return stdout
  throw new Error(`the machine tests cannot start: ${what} failed (${error?.message ?? signal ?? `status ${status}`})\n${stdout}${stderr}`)
}
