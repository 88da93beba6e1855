/** What the kernel says about the memory of a process: proc_pid_smaps(5). */
import fs from 'node:fs'

export interface Mapping {
  readonly start: number
  readonly end: number
  /** `rw-s`, `rw-p` */
  readonly mode: string
  /** Offset of `start` in the file. */
  readonly offset: number
  readonly file: string
  /** Bytes of Rss, Size, Private_Hugetlb ... */
  bytes(field: string): number
  /** `dd`: not in core dumps; `ht`: huge pages */
  readonly flags: readonly string[]
}

export function mappings(pid: number | 'self' = 'self'): Mapping[] {
  const parts = fs.readFileSync(`/proc/${pid}/smaps`, 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)
  return parts.map((part) => {
    const [, start = '', end = '', mode = '', offset = '', file = ''] = /^([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) \S+ \d+ *(.*)$/m.exec(part) ?? []
    return {
      start: Number.parseInt(start, 16), end: Number.parseInt(end, 16), mode, offset: Number.parseInt(offset, 16), file,
      bytes: (field) => Number(new RegExp(`^${field}: +(\\d+) kB`, 'm').exec(part)?.[1] ?? NaN) * 1024,
      flags: /^VmFlags: (.*)$/m.exec(part)?.[1]?.trim().split(' ') ?? [],
    }
  })
}

/** The mapping that holds an address of this process. */
export function mappingAt(address: number): Mapping {
  const found = mappings().find(({ start, end }) => start <= address && address < end)
  if (found === undefined) throw new Error(`nothing is mapped at 0x${address.toString(16)}`)
  return found
}
