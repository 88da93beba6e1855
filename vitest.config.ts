import { defineConfig } from 'vitest/config'

/** Two tiers: `unit` (beside the source) and `machine` (test/, needs the built dist/). `test:full` adds `test/full`. */
export default defineConfig({
  test: {
    include: ['{src,machine-manager,machine,boot-loader,device-model,hypervisor,address-space,host,scripts}/**/*.test.ts', 'test/**/*.test.ts'],
    exclude: ['node_modules/**', ...(process.env['MESOVIRT_TEST_FULL'] === '1' ? [] : ['test/full/**'])],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 300_000,
    // Quiet when all is well; the full tier shows each test.
    reporters: [process.env['MESOVIRT_TEST_FULL'] === '1' ? 'default' : 'minimal'],
  },
})
