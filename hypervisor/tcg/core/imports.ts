/** What the core asks of its host: the bus behind guest-physical memory and I/O ports, and time. */

/** @param space 0 memory, 1 ports */
// @ts-ignore: decorator
@external('env', 'busRead')
export declare function busRead(space: u32, low: u32, high: u32, size: u32): u32
// @ts-ignore: decorator
@external('env', 'busWrite')
export declare function busWrite(space: u32, low: u32, high: u32, size: u32, value: u32): void
/** Host clock since machine start, ns. */
// @ts-ignore: decorator
@external('env', 'hostNs')
export declare function hostNs(): f64
/** A random 32-bit number from the host. */
// @ts-ignore: decorator
@external('env', 'hostRandom')
export declare function hostRandom(): u32
