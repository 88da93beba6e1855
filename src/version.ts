/** Version and commit of this program. Read when asked for: a launch needs neither. */
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder that holds package.json: the parent of src/, and of dist/ once bundled. */
const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')

/** `mesovirt 0.1.0 (bd8e203)`; without the commit when this is not a checkout. */
export function versionLine(): string {
  const commit = readCommit()
  return `mesovirt ${readVersion()}${commit === undefined ? '' : ` (${commit})`}`
}

function readVersion(): string {
  try {
    const parsed: unknown = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'))
    if (typeof parsed === 'object' && parsed !== null && 'version' in parsed && typeof parsed.version === 'string') return parsed.version
  } catch {
    // A copy of dist/ without its package.json still runs.
  }
  return 'unknown'
}

function readCommit(): string | undefined {
  try {
    const head = fs.readFileSync(path.join(root, '.git/HEAD'), 'utf8').trim()
    const reference = /^ref: (refs\/[\w./-]+)$/.exec(head)?.[1]
    const hash = reference === undefined ? head : readReference(reference)
    return hash !== undefined && /^[0-9a-f]{40}$/.test(hash) ? hash.slice(0, 7) : undefined
  } catch {
    return undefined
  }
}

function readReference(reference: string): string | undefined {
  const file = path.join(root, '.git', reference)
  if (fs.existsSync(file)) return fs.readFileSync(file, 'utf8').trim()
  const packed = fs.readFileSync(path.join(root, '.git/packed-refs'), 'utf8')
  return packed.split('\n').find((line) => line.endsWith(` ${reference}`))?.slice(0, 40)
}
