import { AddressSpace } from './address-space.ts'
import { BusServer } from './bus-server.ts'
import { startBusWorker } from './bus-worker.fixture.ts'
import { Region } from './region.ts'

/** Prints the cost of each kind of access over the bus, microseconds: `node scripts/ts.mjs address-space/bus-latency.ts` from the repository. */
const root = Region.container('memory', 2 ** 32)
const region = Region.io('device', 0x1000, { read: () => 1, write: () => undefined })
root.add(region, 0x1000)
const memory = new AddressSpace('memory', root)
const ports = new AddressSpace('I/O', Region.container('io', 0x1_0000))
const server = new BusServer({ memory, ports, slots: 1 })
server.shadowPage(region, { posted: [{ offset: 0, size: 4 }], shadow: [{ offset: 4, size: 4 }] }).publish(4, 1)
server.ref()
const report = await startBusWorker(server, { task: 'latency', slot: 0, seed: 1, rounds: 0, shared: new SharedArrayBuffer(64) })
console.log(await report, server.counters)
server.close()
