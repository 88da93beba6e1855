// Builds dist/: core.wasm (AssemblyScript), the CLI bundle, worker bundles, the library entry and its types.
// `node scripts/build.mjs [--no-types] [--force-core]`. core.wasm is rebuilt only when its sources changed (hash kept beside it).
import { createHash } from 'node:crypto'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { build } from 'esbuild'
import { ascArguments, CORE } from './asc-options.mjs'
import { mergeChunks } from './merge-chunks.mjs'

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

const bundles = {
  'src/mesovirt.ts': 'dist/mesovirt.js',
  'src/index.ts': 'dist/index.js',
  'hypervisor/tcg/vcpu-worker.ts': 'dist/tcg-vcpu-worker.js',
  'hypervisor/tcg/own-vcpu-worker.ts': 'dist/tcg-own-vcpu-worker.js',
  'hypervisor/tcg/translator/worker.ts': 'dist/tcg-translator-worker.js',
}

/** What every launch needs, and what one on kvm needs besides. */
const launches = [
  {
    name: 'launch.js',
    roots: ['src/cli-launch.ts', 'machine-manager/options/validate.ts', 'machine-manager/log.ts', 'machine-manager/lifecycle.ts', 'device-model/chardev/stdio.ts'],
  },
  { name: 'launch-kvm.js', roots: ['hypervisor/kvm/kvm-hypervisor.ts'] },
]

/**
 * Workers that a start waits for: one file without import statements each, which Node has running 10 ms earlier than modules in chunks.
 */
const scripts = {
  'hypervisor/kvm/vcpu-worker.ts': 'dist/kvm-vcpu-worker.cjs',
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
  for (const name of fs.readdirSync('dist')) if (/^chunk-.*\.js(\.map)?$/.test(name)) fs.rmSync(`dist/${name}`)
  // Splitting keeps the lazy imports lazy: `-help` must not pay for QMP, QMP not for the boot loader.
  const options = {
    bundle: true, platform: 'node', format: 'esm', target: 'node20', external: ['koffi', 'node-pty'], sourcemap: true, minifySyntax: true, legalComments: 'none', logLevel: 'warning',
  }
  const { metafile } = await build({
    ...options, metafile: true,
    entryPoints: Object.entries(bundles).filter(([entry]) => fs.existsSync(entry)).map(([entry, out]) => ({ in: entry, out: path.basename(out, '.js') })),
    outdir: 'dist', splitting: true, chunkNames: 'chunk-[hash]',
    banner: { js: "import { createRequire as mesovirtCreateRequire } from 'node:module'; const require = mesovirtCreateRequire(import.meta.url);" },
  })
  await mergeChunks('dist', metafile, launches, options)
  for (const [entry, outfile] of Object.entries(scripts)) {
    await build({
      ...options, entryPoints: [entry], outfile, format: 'cjs', define: { 'import.meta.url': 'mesovirtUrl' },
      banner: { js: "const mesovirtUrl = require('node:url').pathToFileURL(__filename).href;" },
    })
    fs.rmSync(outfile.replace(/cjs$/, 'js'), { force: true })
    fs.rmSync(outfile.replace(/cjs$/, 'js.map'), { force: true })
  }
  if (fs.existsSync('dist/mesovirt.js')) {
    const text = fs.readFileSync('dist/mesovirt.js', 'utf8')
    if (!text.startsWith('#!')) fs.writeFileSync('dist/mesovirt.js', `#!/usr/bin/env node\n${text}`)
    fs.chmodSync('dist/mesovirt.js', 0o755)
  }
}

function buildTypes() {
  if (options.has('--no-types')) return
  say('emitting types ...')
  runNode(['node_modules/typescript/bin/tsc', '-p', 'tsconfig.types.json'])
}

await buildCore()
await buildBundles()
buildTypes()
say('')
