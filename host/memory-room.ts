/**
 * How much memory this process can still use before the kernel ends something for it: MemAvailable of proc(5), and the limits of its control groups
 * (Linux Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst). Swap counts as room. Left out: huge pages, which are counted apart.
 */
import fs from 'node:fs'
import path from 'node:path'

export interface MemoryRoom {
  readonly bytes: number
  readonly limit: 'host' | 'control group'
}

interface Version { readonly mount: string; readonly limit: string; readonly usage: string; readonly reclaimable: string }

const V2: Version = { mount: 'sys/fs/cgroup', limit: 'memory.max', usage: 'memory.current', reclaimable: 'inactive_file' }
const V1: Version = { mount: 'sys/fs/cgroup/memory', limit: 'memory.limit_in_bytes', usage: 'memory.usage_in_bytes', reclaimable: 'total_inactive_file' }

/** @param root where proc and sys are. @returns undefined where the host does not say */
export function memoryRoom(root = '/'): MemoryRoom | undefined {
  const meminfo = read(path.join(root, 'proc/meminfo')) ?? ''
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(meminfo)?.[1] ?? NaN)
  const available = kib('MemAvailable') * 1024
  const swap = (kib('SwapFree') || 0) * 1024
  const rooms: MemoryRoom[] = Number.isNaN(available) ? [] : [{ bytes: available + swap, limit: 'host' }]
  for (const [version, group] of groupsOf(read(path.join(root, 'proc/self/cgroup')) ?? '')) {
    for (const folder of upwards(path.join(root, version.mount), group)) {
      const bytes = roomIn(folder, version)
      if (bytes !== undefined) rooms.push({ bytes: bytes + swap, limit: 'control group' })
    }
  }
  return rooms.sort((a, b) => a.bytes - b.bytes)[0]
}

/** Lines `0::/path` (version 2) and `4:memory:/path` (version 1). */
function groupsOf(text: string): [Version, string][] {
  return text.split('\n').flatMap((line): [Version, string][] => {
    const [, number, controllers, group] = /^(\d+):([^:]*):(\/.*)$/.exec(line) ?? []
    if (group === undefined) return []
    if (number === '0' && controllers === '') return [[V2, group]]
    return controllers?.split(',').includes('memory') === true ? [[V1, group]] : []
  })
}

/** A limit holds for everything below it. In a container the path may lead out of what is mounted; its own group is then the mount itself. */
function upwards(mount: string, group: string): string[] {
  const folders = [mount]
  let folder = mount
  for (const name of group.split('/').filter((part) => part !== '' && part !== '..')) {
    folder = path.join(folder, name)
    folders.push(folder)
  }
  return folders
}

function roomIn(folder: string, { limit, usage, reclaimable }: Version): number | undefined {
  const most = Number.parseInt(read(path.join(folder, limit)) ?? '', 10) // `max` where there is none
  const used = Number.parseInt(read(path.join(folder, usage)) ?? '', 10)
  if (Number.isNaN(most) || Number.isNaN(used)) return undefined
  const cache = Number(new RegExp(`^${reclaimable} (\\d+)$`, 'm').exec(read(path.join(folder, 'memory.stat')) ?? '')?.[1] ?? 0)
  return Math.max(0, most - used + cache)
}

function read(file: string): string | undefined {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}
