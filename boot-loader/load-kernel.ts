/** Direct kernel boot: puts kernel, initrd, command line and boot tables into guest memory and says how vCPU 0 enters. No firmware, no boot menu. */
import type { GuestMemory } from '../address-space/guest-memory.ts'
import { MesovirtError } from '../host/errors.ts'
import { enterKernel } from './boot-state.ts'
import type { BootState } from './boot-state.ts'
import { isBzImage, parseBzImage } from './bzimage.ts'
import { isElf, parseElf } from './elf.ts'
import { extractVmlinux } from './extract-vmlinux.ts'
import { ImageFile } from './image-file.ts'
import { parseFlat } from './kernel-image.ts'
import type { KernelImage } from './kernel-image.ts'
import {
  COMMAND_LINE_ADDRESS, EBDA_ADDRESS, HIGH_MEMORY_ADDRESS, IDENTITY_MAPPED, PAGE_SIZE, PVH_START_INFO_ADDRESS, RESET_VECTOR_ADDRESS, VGA_HOLE_ADDRESS, ZERO_PAGE_ADDRESS,
} from './layout.ts'
import { memoryMap } from './memory-map.ts'
import { buildMpTable } from './mp-table.ts'
import { buildPvhStartInfo } from './pvh.ts'
import { buildZeroPage } from './zero-page.ts'
import type { Placed } from './zero-page.ts'

/**
 * The whole firmware: write 0xFE to port 0x64 (the keyboard controller's reset line), then halt. Linux on hardware-reduced ACPI restarts by jumping to
 * the reset vector once EFI, which is not there, has declined.
 */
const RESET_CODE = Uint8Array.of(0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd) // mov al, 0xfe; out 0x64, al; hlt; jmp to the hlt

export interface LoadKernelOptions {
  /** Must cover [0, ramLow) with one block. */
  readonly memory: GuestMemory
  /** Bytes of RAM from address 0 on. */
  readonly ramLow: number
  /** Bytes of RAM from 4 GiB on. */
  readonly ramHigh: number
  /** Path of a regular file, or the image itself. */
  readonly kernel: string | Uint8Array
  readonly initrd?: string | Uint8Array | undefined
  readonly commandLine: string
  /**
   * Take the ELF kernel out of a bzImage here and enter that, so that the guest need not unpack it. Such a kernel runs where it was linked: without address
   * randomisation. A bzImage whose compression is not known here, or whose tool is not installed, boots as it is. Default false.
   */
  readonly unpack?: boolean | undefined
  /** Number of processors; their APIC ids are 0..cpus-1 unless apicIds says otherwise. */
  readonly cpus: number
  /** APIC id of each processor, the boot processor first. */
  readonly apicIds?: readonly number[] | undefined
  /** Guest-physical address of the ACPI RSDP, 0 or absent without ACPI. */
  readonly acpiRsdp?: number | undefined
}

/**
 * Loads everything and returns the entry state. Call it again for every reset: it rewrites all it depends on.
 * @throws MesovirtError KERNEL_UNREADABLE, KERNEL_DAMAGED, KERNEL_UNSUPPORTED, KERNEL_TOO_BIG, INITRD_UNREADABLE, INITRD_DAMAGED, INITRD_TOO_BIG,
 *   COMMAND_LINE_TOO_LONG, COMMAND_LINE_INVALID, MEMORY_TOO_SMALL
 */
export function loadKernel(options: LoadKernelOptions): BootState {
  const { memory, ramLow, ramHigh } = options
  if (ramLow < 2 * HIGH_MEMORY_ADDRESS) throw new MesovirtError('MEMORY_TOO_SMALL', `${ramLow} bytes of memory are too few to boot a kernel; use -m 128 or more`)
  const kernel = loadKernelImage(memory, ramLow, options.kernel, options.unpack ?? false)
  const initrd = options.initrd === undefined ? null : loadInitrd(memory, ramLow, kernel, options.initrd)
  writeCommandLine(memory, kernel, options.commandLine)

  const mpTable = buildMpTable(options.apicIds ?? Array.from({ length: options.cpus }, (_, index) => index))
  memory.fill(EBDA_ADDRESS, VGA_HOLE_ADDRESS - EBDA_ADDRESS, 0)
  memory.write(mpTable.pointerAddress, mpTable.pointer)
  memory.write(mpTable.tableAddress, mpTable.table)
  memory.write(RESET_VECTOR_ADDRESS, RESET_CODE)

  const map = memoryMap(ramLow, ramHigh)
  const rsdp = options.acpiRsdp ?? 0
  if (kernel.protocol === 'pvh32') memory.write(PVH_START_INFO_ADDRESS, buildPvhStartInfo(map, initrd, rsdp))
  else memory.write(ZERO_PAGE_ADDRESS, buildZeroPage(kernel, map, initrd, rsdp))
  return enterKernel(memory, kernel.protocol, kernel.format, kernel.entry)
}

/** Recognises and checks a kernel without loading it. @throws MesovirtError KERNEL_* */
export function parseKernel(image: ImageFile): KernelImage {
  if (image.size === 0) throw image.damaged('it is empty')
  if (isElf(image)) return parseElf(image)
  if (isBzImage(image)) return parseBzImage(image)
  return parseFlat(image)
}

function loadKernelImage(memory: GuestMemory, ramLow: number, source: string | Uint8Array, unpack: boolean): KernelImage {
  const image = new ImageFile('kernel', source)
  try {
    const elf = unpack && image.size > 0 && isBzImage(image) ? unpackKernel(image) : undefined
    if (elf === undefined) return place(memory, ramLow, image, parseKernel(image))
    const { commandLineLimit, initrdEnd } = parseBzImage(image)
    const inner = new ImageFile('kernel', elf, image.name)
    return place(memory, ramLow, inner, { ...parseElf(inner), commandLineLimit, initrdEnd })
  } finally {
    image.close()
  }
}

/** @returns undefined where the guest had better do it itself. @throws MesovirtError KERNEL_DAMAGED */
function unpackKernel(image: ImageFile): Uint8Array | undefined {
  try {
    return extractVmlinux(image.read(0, image.size))
  } catch (error) {
    if (error instanceof MesovirtError && (error.code === 'VMLINUX_NOT_FOUND' || error.code === 'TOOL_MISSING')) return undefined
    throw image.damaged(`its compressed kernel does not unpack (${error instanceof Error ? error.message : String(error)})`)
  }
}

function place(memory: GuestMemory, ramLow: number, image: ImageFile, kernel: KernelImage): KernelImage {
  const reachable = kernel.protocol === 'linux64' ? Math.min(ramLow, IDENTITY_MAPPED) : ramLow
  if (kernel.end > reachable) {
    const mib = Math.ceil(kernel.end / 2 ** 20)
    throw kernel.end > ramLow ? image.tooBig(`it needs the first ${mib} MiB of memory, the machine has ${Math.floor(ramLow / 2 ** 20)} MiB there`)
      : image.damaged(`it wants the first ${mib} MiB of memory, the boot page tables map 1024`)
  }
  for (const { address, offset, fileSize, memorySize } of kernel.pieces) {
    image.readInto(offset, memory.slice(address, fileSize))
    if (memorySize > fileSize) memory.fill(address + fileSize, memorySize - fileSize, 0)
  }
  return kernel
}

function loadInitrd(memory: GuestMemory, ramLow: number, kernel: KernelImage, source: string | Uint8Array): Placed {
  const image = new ImageFile('initrd', source)
  try {
    if (image.size === 0) throw image.damaged('it is empty')
    const top = Math.min(ramLow, kernel.initrdEnd)
    const address = Math.floor((top - image.size) / PAGE_SIZE) * PAGE_SIZE
    if (address < kernel.end) {
      const room = Math.max(0, top - Math.ceil(kernel.end / PAGE_SIZE) * PAGE_SIZE)
      throw image.tooBig(`it has ${image.size} bytes, and ${room} are free for it above the kernel`)
    }
    image.readInto(0, memory.slice(address, image.size))
    return { address, size: image.size }
  } finally {
    image.close()
  }
}

function writeCommandLine(memory: GuestMemory, kernel: KernelImage, commandLine: string): void {
  if (commandLine.includes('\0')) throw new MesovirtError('COMMAND_LINE_INVALID', 'the kernel command line contains a NUL character; remove it from -append')
  const bytes = new TextEncoder().encode(commandLine)
  if (bytes.length > kernel.commandLineLimit) {
    throw new MesovirtError('COMMAND_LINE_TOO_LONG', `the kernel command line has ${bytes.length} bytes, this kernel takes ${kernel.commandLineLimit}; shorten -append`)
  }
  memory.write(COMMAND_LINE_ADDRESS, bytes)
  memory.writeU8(COMMAND_LINE_ADDRESS + bytes.length, 0)
}
