/** Files that lie beside the bundle: workers and core.wasm. Run from the source tree (tests), they are in its dist/. */
export function distFile(name: string): URL {
  return new URL(import.meta.url.endsWith('.ts') ? `../dist/${name}` : name, import.meta.url)
}
