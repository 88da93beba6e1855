/** Kernel modules as files: what one needs and in which order to load them. Reads `depends=` of the .modinfo section (Linux include/linux/module.h, MODULE_INFO). */

/** The name modules go by: the file `kvm-amd.ko` is the module `kvm_amd`. */
export function moduleName(file: string): string {
  return file.replace(/^.*\//, '').replace(/\.ko(\.[a-z0-9]+)?$/, '').replaceAll('-', '_')
}

/** What the module itself says it needs. */
export function dependencies(content: Uint8Array): string[] {
  const text = Buffer.from(content.buffer, content.byteOffset, content.byteLength)
  const at = text.indexOf('\0depends=')
  if (at < 0) return []
  const start = at + '\0depends='.length
  const list = text.toString('latin1', start, text.indexOf(0, start))
  return list.split(',').filter((name) => name !== '').map(moduleName)
}

/** Sorts modules so that each comes after those it needs. Names that are not among `needs` are built into the kernel. */
export function loadOrder(wanted: readonly string[], needs: ReadonlyMap<string, readonly string[]>): string[] {
  const order: string[] = []
  const visit = (name: string, path: readonly string[]) => {
    const own = needs.get(name)
    if (own === undefined || order.includes(name)) return
    if (path.includes(name)) throw new Error(`modules need each other: ${[...path, name].join(' ')}`)
    own.forEach((dependency) => visit(dependency, [...path, name]))
    order.push(name)
  }
  wanted.forEach((name) => visit(name, []))
  return order
}
