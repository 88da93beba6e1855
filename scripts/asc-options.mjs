// How core.wasm is compiled, in one place: the build and the test that seeds faults into the core (test/seeded-faults) must not differ.

export const CORE = 'hypervisor/tcg/core'
const ASC = 'node_modules/assemblyscript/bin/asc.js'

/**
 * Arguments of `node` that compile the core. Memory layout: static data below 64 KiB, see hypervisor/tcg/core/layout.ts.
 * @param {string} entry index.ts of the core
 * @param {string} out the .wasm file
 * @param {string} level -O3 for use; -O0 gives the same results and compiles in a sixth of the time
 */
export function ascArguments(entry, out, level = '-O3') {
  return [ASC, entry, '-o', out, level, '--noAssert',
    '--runtime', 'stub', '--importMemory', '--exportTable', '--sharedMemory', '--initialMemory', '1024', '--maximumMemory', '65536', '--enable', 'threads,simd,bulk-memory,sign-extension,nontrapping-f2i,mutable-globals',
    '--memoryBase', '1024', '--use', 'abort=',
    '--disableWarning', '201'] // usize is 32 bits here and will stay so: memory64 is not in Node 20
}
