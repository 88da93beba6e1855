/** Node's WebAssembly, as far as the software CPU uses it: its types come without the constructors unless the DOM library is in. */

/** A shared memory: its buffer never changes, for it cannot grow past its first size here. */
export interface WasmMemory { readonly buffer: SharedArrayBuffer }
export interface WasmInstance { readonly exports: unknown }

export const wasm = (globalThis as unknown as { WebAssembly: {
  readonly Memory: new (limits: { initial: number; maximum: number; shared: true }) => WasmMemory
  readonly Module: new (bytes: Uint8Array) => object
  readonly Instance: new (module: object, imports: object) => WasmInstance
} }).WebAssembly
