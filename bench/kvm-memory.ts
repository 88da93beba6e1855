/** Private memory of a process from /proc/PID/smaps (Linux Documentation/filesystems/proc.rst, section 1.1). */
import fs from 'node:fs'

export interface Mapping { readonly name: string; readonly sizeKib: number; readonly privateDirtyKib: number }

/** @returns the mappings in the text of an smaps file, in its order */
export function parseSmaps(text: string): Mapping[] {
  const mappings: Mapping[] = []
  let name = '', sizeKib = 0
  for (const line of text.split('\n')) {
    const head = /^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+\s*(.*)$/.exec(line)
    if (head !== null) {
      name = head[1] ?? ''
      continue
    }
    const field = /^(Size|Private_Dirty):\s+(\d+) kB$/.exec(line)
    if (field === null) continue
    if (field[1] === 'Size') sizeKib = Number(field[2])
    else mappings.push({ name, sizeKib, privateDirtyKib: Number(field[2]) })
  }
  return mappings
}

/** Private_Dirty of a process in KiB, less mappings that can hold guest RAM of `ramKib`. */
export function privateKib(pid: number, ramKib: number): number {
  const mappings = parseSmaps(fs.readFileSync(`/proc/${pid}/smaps`, 'utf8'))
  return mappings.filter(({ sizeKib }) => sizeKib < ramKib).reduce((sum, { privateDirtyKib }) => sum + privateDirtyKib, 0)
}
