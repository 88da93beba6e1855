/** Version of this program, as package.json says. */
import fs from 'node:fs'
import { fileURLToPath } from 'node:url'

/** e.g. `0.1.0`; `0.0.0` where a copy of dist/ runs without its package.json */
export function versionNumber(): string {
  try {
    const parsed: unknown = JSON.parse(fs.readFileSync(fileURLToPath(new URL('../package.json', import.meta.url)), 'utf8'))
    if (typeof parsed === 'object' && parsed !== null && 'version' in parsed && typeof parsed.version === 'string') return parsed.version
  } catch {
    // Below.
  }
  return '0.0.0'
}
