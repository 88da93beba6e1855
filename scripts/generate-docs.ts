/** Writes the generated pages under docs/: `node scripts/ts.mjs scripts/generate-docs.ts`. A test checks that they are fresh. */
import fs from 'node:fs'
import { commandLinePage } from '../machine-manager/options/docs-page.ts'

fs.writeFileSync('docs/command-line.md', commandLinePage())
process.stderr.write('wrote docs/command-line.md\n')
