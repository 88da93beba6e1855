/** Writes the generated pages under docs/: `node scripts/ts.mjs scripts/generate-docs.ts`. Tests check that they are fresh. */
import fs from 'node:fs'
import { commandLinePage } from '../machine-manager/options/docs-page.ts'
import { renderQmpDocs } from '../machine-manager/qmp/docs.ts'

const PAGES = { 'docs/command-line.md': commandLinePage, 'docs/qmp.md': renderQmpDocs }
for (const [file, render] of Object.entries(PAGES)) {
  fs.writeFileSync(file, render())
  process.stderr.write(`wrote ${file}\n`)
}
