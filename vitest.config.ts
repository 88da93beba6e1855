import { defineConfig } from 'vitest/config'

/** Two tiers: `unit` (beside the source) and `machine` (test/, drives the built binary). `test:full` adds test/full. */
const isFull = process.env['MESOVIRT_TEST_FULL'] === '1'

/** `npm run test:kvm`: what holds on either accelerator, once more on kvm, and what needs a Linux guest on kvm. */
const isOnKvm = process.env['MESOVIRT_TEST_ACCEL'] === 'kvm'
/** In the lab everything takes longer. Limits are for a box many times slower than ours: they end a test that hangs and decide nothing else. */
const SLOWNESS = process.env['MESOVIRT_TEST_LAB'] === '1' ? 10 : 1
const UNIT_ON_KVM = ['hypervisor/kvm/**/*.test.ts']
const MACHINE_ON_KVM = ['boot', 'memory', 'virtio-rng', 'virtio-blk', 'virtio-console', 'virtio-balloon', 'root-disk', 'guest-ends', 'qmp-machine', 'process-life', 'doctor', 'bare-metal', 'full/generic-kernel', 'kvm/**/*'].map((name) => `test/${name}.test.ts`)

export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 2,
    reporters: process.env['CI'] ? ['default'] : ['dot'],
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: isOnKvm ? UNIT_ON_KVM : ['{src,machine-manager,machine,boot-loader,device-model,hypervisor,address-space,host,scripts,bench}/**/*.test.ts'],
          testTimeout: SLOWNESS * 60_000,
          hookTimeout: SLOWNESS * 300_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'machine',
          include: isOnKvm ? MACHINE_ON_KVM : ['test/**/*.test.ts'],
          exclude: ['node_modules/**', ...(isOnKvm ? [] : ['test/kvm/**']), ...(isFull || isOnKvm ? [] : ['test/full/**'])],
          globalSetup: ['test/support/global-setup.ts'],
          testTimeout: SLOWNESS * 600_000,
          hookTimeout: SLOWNESS * 600_000,
        },
      },
    ],
  },
})
