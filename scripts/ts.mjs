// Runs one TypeScript script of ours on Node 20, which has no type stripping: `node scripts/ts.mjs FILE.ts [args]`.
import { build } from 'esbuild'
import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [entry, ...args] = process.argv.slice(2)
const folder = path.resolve('.cache/scripts')
fs.mkdirSync(folder, { recursive: true })
const outfile = path.join(folder, `${path.basename(entry, '.ts')}-${process.pid}.mjs`)
await build({ entryPoints: [entry], outfile, bundle: true, platform: 'node', format: 'esm', target: 'node20', packages: 'external', logLevel: 'warning' })
process.argv = [process.argv[0], path.resolve(entry), ...args]
process.on('exit', () => fs.rmSync(outfile, { force: true }))
await import(pathToFileURL(outfile).href)
