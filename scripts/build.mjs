// Builds dist/: core.wasm (AssemblyScript), the program, its workers and V8's code of it, the library and its types.
// `node scripts/build.mjs [--no-types] [--force-core]`. core.wasm is rebuilt only when its sources changed (hash kept beside it).
import { createHash } from 'node:crypto'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { build } from 'esbuild'
import { ascArguments, CORE } from './asc-options.mjs'

const root = path.resolve(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), '..')
process.chdir(root)
const options = new Set(process.argv.slice(2))
const say = (text) => process.stderr.isTTY ? process.stderr.write(`\r\x1b[K${text}`) : process.stderr.write(`${text}\n`)

const ASC = ascArguments(`${CORE}/index.ts`, 'dist/core.wasm')

function runNode(args) {
  const result = spawnSync(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit'] })
  if (result.status !== 0) throw new Error(`${args[0]} failed`)
}

async function bundleScript(entry, outfile) {
  await build({ entryPoints: [entry], outfile, bundle: true, platform: 'node', format: 'esm', target: 'node20', packages: 'external', logLevel: 'warning' })
}

async function buildCore() {
  fs.mkdirSync('dist', { recursive: true })
  await bundleScript('hypervisor/tcg/isa/generate.ts', 'dist/.generate-isa.mjs')
  runNode(['dist/.generate-isa.mjs'])
  const files = fs.readdirSync(CORE).filter((name) => name.endsWith('.ts')).sort()
  const hash = createHash('sha256').update(ASC.join(' '))
  for (const name of files) hash.update(name).update(fs.readFileSync(path.join(CORE, name)))
  const digest = hash.digest('hex')
  const stamp = 'dist/.core.sha256'
  if (!options.has('--force-core') && fs.existsSync('dist/core.wasm') && fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === digest) return
  say('building core.wasm ...')
  runNode(ASC)
  checkStaticData(fs.readFileSync('dist/core.wasm'))
  fs.writeFileSync(stamp, digest)
}

/**
 * The program and its workers: one file without import statements each, which Node has running 10 ms earlier than modules in chunks, and which V8 can keep
 * compiled code of. What a launch does not need stays uncompiled in it until it is asked for.
 */
const scripts = {
  'src/bin.ts': 'mesovirt.js',
  'src/mesovirt.ts': 'program.js',
  'hypervisor/tcg/vcpu-worker.ts': 'tcg-vcpu-worker.js',
  'hypervisor/tcg/own-vcpu-worker.ts': 'tcg-own-vcpu-worker.js',
  'hypervisor/tcg/translator/worker.ts': 'tcg-translator-worker.js',
  'hypervisor/kvm/vcpu-worker.ts': 'kvm-vcpu-worker.js',
}

const URL_OF_FILE = "const mesovirtUrl = require('node:url').pathToFileURL(__filename).href;"
/** The program is a function, called by what V8 kept the code of; in the file, so that nobody has to put a megabyte of text together at each start. */
const frames = {
  'mesovirt.js': { before: '#!/usr/bin/env node', after: '' },
  'program.js': { before: `(function (exports, require, module, __filename, __dirname) { ${URL_OF_FILE}`, after: '})' },
}

/** The decode tables must end below the control words at 64 KiB (core/layout.ts): walks the wasm sections to the data segments. */
function checkStaticData(wasm) {
  let at = 8
  const number = () => { let value = 0, shift = 0, byte; do { byte = wasm[at++]; value |= (byte & 127) << shift; shift += 7 } while (byte & 128); return value >>> 0 }
  while (at < wasm.length) {
    const section = wasm[at++], end = number() + at
    for (let left = section === 11 ? number() : 0; left > 0; left--) {
      at += 2 // active segment, i32.const
      const offset = number()
      at++ // end of the offset expression
      const length = number()
      if (offset + length > 0x10000) throw new Error(`static data of core.wasm ends at ${offset + length}, but only 64 KiB are reserved for it`)
      at += length
    }
    at = end
  }
}

async function buildBundles() {
  say('bundling ...')
  for (const name of fs.readdirSync('dist')) if (/\.(js|mjs|cjs|map|code)$/.test(name)) fs.rmSync(`dist/${name}`)
  const options = {
    bundle: true, platform: 'node', target: 'node20', external: ['koffi', 'node-pty'], sourcemap: true, minifySyntax: true, legalComments: 'none', logLevel: 'warning',
  }
  await Promise.all([
    // Splitting keeps the library's lazy imports lazy.
    build({
      ...options, format: 'esm', entryPoints: ['src/index.ts'], outdir: 'dist', splitting: true, chunkNames: 'chunk-[hash]', outExtension: { '.js': '.mjs' },
      banner: { js: "import { createRequire as mesovirtCreateRequire } from 'node:module'; const require = mesovirtCreateRequire(import.meta.url);" },
    }),
    // Without white space there is a third less to read and to keep in memory; names stay, for those who read a stack.
    ...Object.entries(scripts).map(([entry, name]) => build({
      ...options, minifyWhitespace: true, format: 'cjs', entryPoints: [entry], outfile: `dist/${name}`, supported: { 'dynamic-import': false }, define: { 'import.meta.url': 'mesovirtUrl' },
      banner: { js: frames[name]?.before ?? URL_OF_FILE }, footer: { js: frames[name]?.after ?? '' },
    })),
  ])
  fs.chmodSync('dist/mesovirt.js', 0o755)
  fs.writeFileSync('dist/package.json', '{ "type": "commonjs" }\n')
  say('keeping compiled code ...')
  runNode(['scripts/ts.mjs', 'scripts/code-cache.ts'])
}

function buildTypes() {
  if (options.has('--no-types')) return
  say('emitting types ...')
  runNode(['node_modules/typescript/bin/tsc', '-p', 'tsconfig.types.json'])
  fs.writeFileSync('dist/types/package.json', '{ "type": "module" }\n') // of the library, not of the scripts above them
}

await buildCore()
await buildBundles()
buildTypes()
say('')
