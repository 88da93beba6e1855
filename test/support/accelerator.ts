/** Which accelerator the machines of this run use: the same tests hold on both. `npm test` runs them on tcg, `npm run test:kvm` on kvm. */
const asked = process.env['MESOVIRT_TEST_ACCEL'] ?? 'tcg'
if (asked !== 'tcg' && asked !== 'kvm') throw new Error(`MESOVIRT_TEST_ACCEL is tcg or kvm, not '${asked}'`)

export const ACCELERATOR: 'tcg' | 'kvm' = asked

/** In the lab of `npm run test:kvm` the processor below kvm is QEMU's software CPU, with QEMU's mistakes. */
export const IS_IN_LAB = process.env['MESOVIRT_TEST_LAB'] === '1'
