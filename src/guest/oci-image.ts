/** OCI image layouts (OCI Image Format Specification 1.0, "Image Layout") as root file systems. The layers are umoci's business, which knows their traps. */
import fs from 'node:fs'
import path from 'node:path'
import { MesovirtError } from '../../host/errors.ts'
import { runTool } from './tool.ts'

const REFERENCE = 'org.opencontainers.image.ref.name'
const MOST_INDEX_BYTES = 4 * 2 ** 20

export function isOciLayout(folder: string): boolean {
  return fs.existsSync(path.join(folder, 'oci-layout'))
}

/** @throws MesovirtError OCI_IMAGE, TOOL_MISSING */
export async function unpackOciImage(layout: string, root: string): Promise<void> {
  const rights = process.getuid?.() === 0 ? [] : ['--rootless']
  const { status, stderr } = await runTool('umoci', 'umoci', ['raw', 'unpack', ...rights, '--image', `${layout}:${onlyReference(layout)}`, root])
  if (status !== 0) throw new MesovirtError('OCI_IMAGE', `umoci could not unpack '${layout}': ${stderr.trim().split('\n').at(-1) ?? ''}`)
}

/** The name of the one image in a layout. */
function onlyReference(layout: string): string {
  const file = path.join(layout, 'index.json')
  let index: unknown
  try {
    if (fs.statSync(file).size > MOST_INDEX_BYTES) throw new Error(`more than ${MOST_INDEX_BYTES} bytes`)
    index = JSON.parse(fs.readFileSync(file, 'utf8'))
  } catch (error) {
    throw new MesovirtError('OCI_IMAGE', `'${file}' is not the index of an OCI image (${(error as Error).message})`, { cause: error })
  }
  const names = references(index)
  if (names.length === 1) return names[0] as string
  throw new MesovirtError('OCI_IMAGE', names.length === 0
    ? `'${layout}' names no image; 'umoci tag' or 'skopeo copy' gives one a name`
    : `'${layout}' holds several images (${names.join(', ')}); copy one of them to a layout of its own`)
}

function references(index: unknown): string[] {
  if (typeof index !== 'object' || index === null || !('manifests' in index) || !Array.isArray(index.manifests)) return []
  return index.manifests.flatMap((manifest: { annotations?: Record<string, unknown> } | null) => {
    const name = manifest?.annotations?.[REFERENCE]
    return typeof name === 'string' ? [name] : []
  })
}
