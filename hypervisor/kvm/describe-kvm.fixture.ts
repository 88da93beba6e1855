/** The one place that decides whether what needs /dev/kvm is tested on this host. */
import { afterEach } from 'vitest'
import { probeKvm, readKvmHost } from '../../host/kvm-device.ts'
import { canLoad, describeWhere } from '../../test/support/optional.ts'
import { closeGuests } from './bare-guest.fixture.ts'

const problem = probeKvm(readKvmHost())
const missing = problem === undefined ? 'the package koffi (npm install koffi)' : `a working /dev/kvm (${problem.what}; ${problem.fix})`

/** Skipped by name where there is no /dev/kvm, and a failure where CI=true. Machines that a test leaves are closed after it. */
export function describeKvm(name: string, tests: () => void): void {
  describeWhere(problem === undefined && canLoad('koffi'), missing, name, () => {
    afterEach(closeGuests)
    tests()
  })
}
