import { defineConfig } from 'vitest/config'

/** Two tiers: `unit` (beside the source) and `machine` (test/, drives the built binary). `test:full` adds test/full. */
const isFull = process.env['MESOVIRT_TEST_FULL'] === '1'

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
          include: ['{src,machine-manager,machine,boot-loader,device-model,hypervisor,address-space,host,scripts,bench}/**/*.test.ts'],
          testTimeout: 60_000,
          hookTimeout: 300_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'machine',
          include: ['test/**/*.test.ts'],
          exclude: ['node_modules/**', ...(isFull ? [] : ['test/full/**'])],
          globalSetup: ['test/support/global-setup.ts'],
          // Limits for a box many times slower than ours: they end a test that hangs and decide nothing else.
          testTimeout: 600_000,
          hookTimeout: 600_000,
        },
      },
    ],
  },
})
