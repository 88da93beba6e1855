/** Tests that need something a box may lack: skipped by a name that says so, and failing where everything has to be there (CI=true). */
import { createRequire } from 'node:module'
import { describe, it } from 'vitest'

/** @param what the missing thing and how to get it */
export function describeWhere(available: boolean, what: string, name: string, tests: () => void): void {
  if (available) {
    describe(name, tests)
  } else if (process.env['CI'] === 'true') {
    describe(name, () => {
      it(`has ${what}`, () => {
        throw new Error(`${what} is missing, and with CI=true nothing may be skipped`)
      })
    })
  } else {
    describe.skip(`${name} [skipped: ${what} is missing]`, tests)
  }
}

export function canLoad(packageName: string): boolean {
  try {
    createRequire(import.meta.url)(packageName)
    return true
  } catch {
    return false
  }
}
