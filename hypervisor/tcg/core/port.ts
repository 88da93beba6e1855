/** I/O ports: the interrupt controllers and the timer live in the core, everything else on the bus. */
import { G_CHIP_LOCK } from './layout'
import { deviceRead, deviceWrite } from './bus'
import { picRead, picWrite } from './pic'
import { pitRead, pitWrite, pitPort61Read, pitPort61Write } from './pit'
import { ownTick } from './irqchip'
import { acquire, multi, release } from './sync'
import { machineNs } from './time'

function isPic(port: u32): bool { return port == 0x20 || port == 0x21 || port == 0xa0 || port == 0xa1 || port == 0x4d0 || port == 0x4d1 }
function isCorePort(port: u32): bool { return isPic(port) || (port >= 0x40 && port <= 0x43) || port == 0x61 }

function readByte(port: u32): u32 {
  if (multi) ownTick(machineNs()) // a thread that lost its processor for a while shows no counter that has run out before its interrupt
  acquire(G_CHIP_LOCK)
  const value = chipRead(port)
  release(G_CHIP_LOCK)
  return value
}
function chipRead(port: u32): u32 {
  if (isPic(port)) return picRead(port)
  if (port == 0x61) return pitPort61Read(machineNs())
  return pitRead(port, machineNs())
}
function writeByte(port: u32, value: u32): void {
  acquire(G_CHIP_LOCK)
  chipWrite(port, value)
  release(G_CHIP_LOCK)
}
function chipWrite(port: u32, value: u32): void {
  if (isPic(port)) picWrite(port, value)
  else if (port == 0x61) pitPort61Write(value, machineNs())
  else pitWrite(port, value, machineNs())
}

/** @param bytes 1, 2 or 4 */
export function portRead(port: u32, bytes: u32): u32 {
  if (isCorePort(port)) {
    let value: u32 = 0
    for (let i: u32 = 0; i < bytes; i++) value |= (isCorePort(port + i) ? readByte(port + i) : deviceRead(1, port + i, 0, 1) & 0xff) << (i << 3)
    return value
  }
  return deviceRead(1, port, 0, bytes)
}

export function portWrite(port: u32, bytes: u32, value: u32): void {
  if (isCorePort(port)) {
    for (let i: u32 = 0; i < bytes; i++) {
      const byte = (value >> (i << 3)) & 0xff
      if (isCorePort(port + i)) writeByte(port + i, byte)
      else deviceWrite(1, port + i, 0, 1, byte)
    }
    return
  }
  deviceWrite(1, port, 0, bytes, value)
}
