import type { AddressSpace } from './address-space.ts'
import type { FlatRange } from './flat-view.ts'
import type { Region } from './region.ts'

/** Text of `info mtree`: the region tree, the regions that aliases show, and the flat view, in the shape QEMU's monitor prints. */
export function describeAddressSpace(space: AddressSpace): string {
  const lines = [`address-space: ${space.name}`]
  const targets: Region[] = []
  describeRegion(lines, targets, space.root, 0, 1)
  const shown = new Set<Region>()
  for (let target = targets.shift(); target !== undefined; target = targets.shift()) {
    if (shown.has(target)) continue
    shown.add(target)
    lines.push('', `memory-region: ${target.name}`)
    describeRegion(lines, targets, target, 0, 1)
  }
  lines.push('', `FlatView "${space.name}", root: ${space.root.name}`)
  if (space.view.ranges.length === 0) lines.push('  No rendered FlatView')
  for (const range of space.view.ranges) lines.push(describeRange(range))
  for (const { address, size, datamatch, region } of space.view.notifiers) {
    const match = datamatch === undefined ? 'any value' : `value 0x${datamatch.toString(16)}`
    lines.push(`  ${hex(address)} notifier, ${size === 0 ? 'any size' : `size ${size}`}, ${match}: ${region.name}`)
  }
  return `${lines.join('\n')}\n`
}

function describeRegion(lines: string[], targets: Region[], region: Region, base: number, depth: number): void {
  const indent = '  '.repeat(depth)
  const where = `${hex(base)}-${hex(base + region.size - 1)}`
  const state = region.enabled ? '' : ' [disabled]'
  if (region.target !== undefined) {
    targets.push(region.target)
    const window = `${hex(region.targetOffset)}-${hex(region.targetOffset + region.size - 1)}`
    lines.push(`${indent}${where} (prio ${region.priority}, ${kindOf(region)}): alias ${region.name} @${region.target.name} ${window}${state}`)
    return
  }
  lines.push(`${indent}${where} (prio ${region.priority}, ${kindOf(region)}): ${region.name}${state}`)
  const byAddress = [...region.children].sort((a, b) => a.offset - b.offset)
  for (const child of byAddress) describeRegion(lines, targets, child, base + child.offset, depth + 1)
}

function describeRange({ start, size, region, offsetInRegion, kind, readOnly }: FlatRange): string {
  const shown = kind === 'ram' && readOnly ? 'rom' : kind === 'io' ? 'i/o' : kind
  const offset = offsetInRegion === 0 ? '' : ` @${hex(offsetInRegion)}`
  return `  ${hex(start)}-${hex(start + size - 1)} (prio ${region.priority}, ${shown}): ${region.name}${offset}`
}

/** As QEMU has it: a container counts as i/o, an alias as what it shows. */
function kindOf(region: Region): string {
  if (region.target !== undefined) return kindOf(region.target)
  if (region.kind === 'container' || region.kind === 'io' || (region.kind === 'romd' && !region.romdMode)) return 'i/o'
  return region.kind === 'ram' && region.readOnly ? 'rom' : region.kind
}

function hex(value: number): string {
  return value.toString(16).padStart(16, '0')
}
