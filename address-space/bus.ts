/**
 * The bus between vCPU workers and the devices on the main thread, with the ordering of a PCI bus: posted writes, shadow reads, synchronous
 * calls. A vCPU worker imports `vcpu-bus.ts` only; this file is the door for the main side.
 *
 * The rules, kept by bus-server.ts and tested in bus.test.ts (one thread, against a plain device) and bus.stress.test.ts (real workers):
 * 1. every post takes a ticket from one counter, and posts are applied in ticket order, whichever vCPU made them;
 * 2. a shadow read is answered by the vCPU only while no post to that device is pending, except posts declared to keep the shadow;
 * 3. main applies all posts before it serves a call, changes a shadow value, raises an interrupt, or takes in any outside event.
 */
export { SPACE_MEMORY, SPACE_PORTS } from './bus-layout.ts'
export type { BusConnection, Space } from './bus-layout.ts'
export { BusServer } from './bus-server.ts'
export type { BusServerOptions, EventLine } from './bus-server.ts'
export { LocalShadowPage } from './shadow-page.ts'
export type { PostedRegister, ShadowPage, ShadowPageOptions, ShadowRegister } from './shadow-page.ts'
export { VcpuBus } from './vcpu-bus.ts'
