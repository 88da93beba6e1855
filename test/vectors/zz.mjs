// test/vectors/core.ts
import fs from "node:fs";

// hypervisor/tcg/core/layout.ts
var G_CPU_COUNT = 65536;
var G_CLOCK_MODE = 65540;
var G_UOP_BASE = 65544;
var G_UOP_END = 65548;
var G_UOP_NEXT = 65552;
var G_BLOCK_TABLE = 65556;
var G_BLOCK_MASK = 65560;
var G_PAGE_INFO = 65564;
var G_RAM_BASE = 65568;
var G_RAM_END = 65572;
var G_RANGE_COUNT = 65576;
var G_RANGES = 66560;
var CPU_AREA = 131072;
var GPR = 0;
var RIP = 144;
var RFLAGS = 152;
var CC_OP = 160;
var CC_SRC = 176;
var SEG = 192;
var SEG_SIZE = 32;
var SEG_BASE = 0;
var SEG_LIMIT = 8;
var SEG_ATTR = 12;
var SEG_SELECTOR = 16;
var ES = 0;
var CS = 1;
var SS = 2;
var DS = 3;
var FS = 4;
var GS = 5;
var LDTR = 6;
var TR = 7;
var GDTR_BASE = 448;
var GDTR_LIMIT = 456;
var IDTR_BASE = 464;
var IDTR_LIMIT = 472;
var CR0 = 480;
var CR2 = 488;
var CR3 = 496;
var CR4 = 504;
var EFER = 512;
var XMM = 1024;
var MXCSR = 1280;
var FCW = 1284;
var FSW = 1286;
var FTW = 1288;
var FPR = 1344;
var HALTED = 1480;
var EXCEPTION = 1488;
var ERROR_CODE = 1492;
var CPL = 1500;
var CC_EFLAGS = 0;

// test/vectors/arena.ts
var CODE = 1610612736;
var CODE_SIZE = 8192;
var DATA = 1610678272;
var DATA_SIZE = 8192;
var GUARD = DATA + DATA_SIZE;
var READ_ONLY = 1610694656;
var STACK = 1610743808;
var STACK_SIZE = 4096;
var USER_CODE32 = 35;
var USER_DATA = 43;
var USER_CODE64 = 51;
var S_GPR = 0;
var S_RFLAGS = 128;
var S_RIP = 136;
var S_TRAP = 144;
var S_ERROR = 148;
var S_CR2 = 152;
var S_MXCSR = 160;
var S_FCW = 164;
var S_FSW = 166;
var S_FTW = 168;
var S_FPR = 176;
var S_XMM = 304;
var S_FS_BASE = 560;
var S_GS_BASE = 568;
var S_SELECTORS = 576;
var S_MEMORY = 592;
var S_STACK = S_MEMORY + DATA_SIZE;
var SNAPSHOT = S_STACK + STACK_SIZE;
var CF = 1;
var PF = 4;
var AF = 16;
var ZF = 64;
var SF = 128;
var DF = 1024;
var OF = 2048;
var ARITHMETIC = CF | PF | AF | ZF | SF | OF;
var RAX = 0;
var RCX = 1;
var RDX = 2;
var RBX = 3;
var RSP = 4;
var RBP = 5;
var RSI = 6;
var RDI = 7;
function memoryOffset(address) {
  return address >= STACK ? S_STACK + address - STACK : S_MEMORY + address - DATA;
}

// test/vectors/random.ts
function hashText(text) {
  let hash = 2166136261;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 16777619);
  return hash >>> 0;
}
var Random = class {
  a = 0;
  b = 0;
  c = 0;
  counter = 1;
  constructor(seed) {
    this.a = hashText(seed);
    this.b = hashText(`${seed}/b`);
    this.c = hashText(`${seed}/c`);
    for (let i = 0; i < 12; i++) this.next();
  }
  /** 32 random bits as an unsigned number. */
  next() {
    const result = this.a + this.b + this.counter | 0;
    this.counter = this.counter + 1 | 0;
    this.a = this.b ^ this.b >>> 9;
    this.b = this.c + (this.c << 3) | 0;
    this.c = (this.c << 21 | this.c >>> 11) + result | 0;
    return result >>> 0;
  }
  /** 0 .. limit - 1 */
  below(limit) {
    return Math.floor(this.next() / 4294967296 * limit);
  }
  /** low .. high */
  between(low, high) {
    return low + this.below(high - low + 1);
  }
  chance(percent) {
    return this.next() < percent * 4294967296e-2;
  }
  pick(list) {
    return list[this.below(list.length)];
  }
};

// test/vectors/values.ts
var FLOAT32 = [
  0,
  2147483648,
  1065353216,
  3212836864,
  1056964608,
  1073741824,
  1077936128,
  1,
  2147483649,
  8388607,
  2155872255,
  8388608,
  2155872256,
  2139095039,
  4286578687,
  2139095040,
  4286578688,
  2143289344,
  4290772992,
  2139095041,
  4290772991,
  2147483647,
  1325400064,
  3472883712,
  1325400063,
  1593835520,
  3741319168,
  1333788672,
  1065353215,
  1065353217,
  1069547520,
  1075838976,
  872415232,
  1258291201,
  1191182336,
  1191181824,
  1036831949
];
var FLOAT64 = [
  [0, 0],
  [2147483648, 0],
  [1072693248, 0],
  [3220176896, 0],
  [1071644672, 0],
  [1073741824, 0],
  [1074266112, 0],
  [0, 1],
  [2147483648, 1],
  [1048575, 4294967295],
  [2148532223, 4294967295],
  [1048576, 0],
  [2148532224, 0],
  [2146435071, 4294967295],
  [4293918719, 4294967295],
  [2146435072, 0],
  [4293918720, 0],
  [2146959360, 0],
  [4294443008, 0],
  [2146435072, 1],
  [4294443007, 4294967295],
  [2147483647, 4294967295],
  [1105199104, 0],
  [3252682752, 0],
  [1105199103, 4290772992],
  [3252682752, 2097152],
  [1138753536, 0],
  [3286237184, 0],
  [1072693247, 4294967295],
  [1072693248, 1],
  [1073217536, 0],
  [1074003968, 0],
  [916455424, 0],
  [940572671, 3758096384],
  [1206910975, 3758096384],
  [1206910976, 0],
  [1069128089, 2576980378],
  [1127219200, 1],
  [1088421824, 0]
];
function integer(random, view, at) {
  const kind = random.next();
  let low = random.next(), high = random.next();
  switch (kind & 7) {
    case 0:
    case 1: {
      const bit = kind >>> 3 & 63;
      low = bit < 32 ? 1 << bit : 0;
      high = bit < 32 ? 0 : 1 << bit - 32;
      const delta = (kind >>> 9) % 3;
      if (delta === 1) {
        if (low === 0) high -= 1;
        low -= 1;
      }
      if (delta === 2) {
        low += 1;
        if ((low | 0) === 0) high += 1;
      }
      if (kind & 65536) {
        low = ~low;
        high = ~high;
      }
      break;
    }
    case 2:
      high = low = -(kind >>> 3 & 1);
      break;
    // 0 or -1
    case 3:
      low = (kind >>> 3 & 255) - 128;
      high = low >> 31;
      break;
    // small and signed
    case 4:
      low = random.pick(EDGES);
      high = random.pick(EDGES);
      break;
    case 5:
      high = (low | 0) >> 31;
      break;
    // sign-extended doubleword
    default:
  }
  view.setInt32(at, low | 0, true);
  view.setInt32(at + 4, high | 0, true);
}
var EDGES = [
  0,
  1,
  127,
  128,
  255,
  256,
  32767,
  32768,
  65535,
  65536,
  2147483647,
  2147483648,
  4294967295,
  2139062143,
  2155905152,
  2147516416,
  2147450879,
  16711935,
  4278255360,
  16843009,
  65537,
  4294836225,
  2147483775,
  2147450880,
  2576980377,
  305419896
];
function float32(random, view, at) {
  const kind = random.below(10);
  if (kind < 4) view.setUint32(at, random.pick(FLOAT32), true);
  else if (kind < 8) view.setUint32(at, random.next() & 2155872255 | random.between(127 - 26, 127 + 33) << 23, true);
  else view.setUint32(at, random.next(), true);
}
function float64(random, view, at) {
  const kind = random.below(10);
  let high, low;
  if (kind < 4) [high, low] = random.pick(FLOAT64);
  else {
    high = random.next();
    low = random.next();
    if (kind < 8) high = high & 2148532223 | random.between(1023 - 55, 1023 + 65) << 20;
    if (kind === 7) low &= 3758096384;
  }
  view.setUint32(at, low >>> 0, true);
  view.setUint32(at + 4, high >>> 0, true);
}
function float80(random, view, at, spread = 70) {
  const sign = random.next() & 32768;
  let exponent = 16383 + random.between(-spread, spread), high = random.next() | 2147483648, low = random.next();
  const kind = random.below(20);
  if (kind < 2) {
    exponent = 0;
    high = low = 0;
  } else if (kind === 2) {
    exponent = 32767;
    high = 2147483648;
    low = 0;
  } else if (kind === 3) {
    exponent = 32767;
    high |= 1073741824;
  } else if (kind === 4) {
    exponent = 32767;
    high = high & ~1073741824 | 2147483648;
    low |= 1;
  } else if (kind === 5) {
    exponent = 0;
    high &= 2147483647;
  } else if (kind === 6) {
    exponent = random.pick([0, 1, 16383, 32766, 32767]);
    high = exponent === 0 ? high | 2147483648 : high & 2147483647;
    if (random.chance(30)) high = low = 0;
  } else if (kind === 7) {
    exponent = random.pick([1, 2, 32766, 32765, 16383 - 16382, 17406, 17407, 15361, 15360, 16510, 16257]);
  } else if (kind < 12) {
    low = 0;
    high &= random.pick([2147483648, 3221225472, 4278190080, 4294967040]);
  } else if (kind < 14) {
    exponent = 16383 + random.below(64);
    low = 0;
    high &= 4293918720;
  } else if (kind === 14) {
    high = low = 4294967295;
  }
  view.setUint32(at, low >>> 0, true);
  view.setUint32(at + 4, high >>> 0, true);
  view.setUint16(at + 8, exponent | sign, true);
}
function packedDecimal(random, view, at) {
  const empty = random.chance(15);
  for (let i = 0; i < 9; i++) {
    const digits = empty ? 0 : random.below(10) << 4 | random.below(10);
    view.setUint8(at + i, digits);
  }
  view.setUint8(at + 9, random.pick([0, 128, 0, 128, 127]));
}
function lanes(random, view, at, kind) {
  if (kind === "float32") for (let i = 0; i < 16; i += 4) float32(random, view, at + i);
  else if (kind === "float64") {
    float64(random, view, at);
    float64(random, view, at + 8);
  } else if (kind === "count") {
    view.setUint32(at, random.below(72), true);
    view.setUint32(at + 4, random.chance(5) ? 1 : 0, true);
    integer(random, view, at + 8);
  } else {
    integer(random, view, at);
    integer(random, view, at + 8);
  }
}

// test/vectors/state.ts
var BASE_MEMORY = new Uint8Array(DATA_SIZE + STACK_SIZE);
var memoryRandom = new Random("memory");
var baseView = new DataView(BASE_MEMORY.buffer);
for (let at = 0; at < BASE_MEMORY.length; at += 8) integer(memoryRandom, baseView, at);
var READ_ONLY_BYTES = BASE_MEMORY.slice(4096, 8192);
READ_ONLY_BYTES.forEach((byte, at) => {
  READ_ONLY_BYTES[at] = byte & 126 || 90;
});
var State = class {
  bytes = new Uint8Array(SNAPSHOT);
  view = new DataView(this.bytes.buffer);
  memory = this.bytes.subarray(S_MEMORY);
  code = new Uint8Array(16);
  codeLength = 0;
  /** Linear address of the instruction. */
  start = CODE;
  mode = 64;
  /** RFLAGS bits that count. */
  flagsMask = 0;
  /** Snapshot bytes whose results do not count: [offset, length] pairs. */
  ignored = [];
  /** The memory operand consists of several parts (environments, save areas, masked stores). */
  wideOperand = false;
  pokes = [];
  constructor() {
    this.memory.set(BASE_MEMORY);
  }
  /** Ordinary surroundings: FPU as after FNINIT, a stack, memory as it was. */
  reset(mode) {
    for (let i = 0; i < this.pokes.length; i += 2) {
      const at = this.pokes[i], length = this.pokes[i + 1];
      this.memory.set(BASE_MEMORY.subarray(at, at + length), at);
    }
    this.pokes.length = 0;
    this.ignored.length = 0;
    this.wideOperand = false;
    this.bytes.fill(0, 0, S_MEMORY);
    this.mode = mode;
    this.setGpr(RSP, STACK + 2048);
    this.view.setUint32(S_RFLAGS, 514, true);
    this.view.setUint32(S_MXCSR, 8064, true);
    this.view.setUint16(S_FCW, 895, true);
    this.view.setUint16(S_FSW, 0, true);
    this.view.setUint8(S_FTW, 0);
    for (const segment of [0, 2, 3]) this.view.setUint16(S_SELECTORS + segment * 2, USER_DATA, true);
    this.view.setUint16(S_SELECTORS + 2, mode === 64 ? USER_CODE64 : 35, true);
  }
  setGpr(register, value) {
    this.view.setUint32(S_GPR + register * 8, value >>> 0, true);
    this.view.setInt32(S_GPR + register * 8 + 4, Math.floor(value / 4294967296), true);
  }
  setGpr64(register, value) {
    this.view.setBigUint64(S_GPR + register * 8, BigInt.asUintN(64, value), true);
  }
  gpr(register) {
    return this.view.getBigUint64(S_GPR + register * 8, true);
  }
  /** Announces that the vector changes these bytes of memory. @returns their offset in the snapshot, -1 outside the arena */
  poke(address, length) {
    const offset = memoryOffset(address);
    const at = offset - S_MEMORY;
    if (at < 0 || at + length > this.memory.length) return -1;
    this.pokes.push(at, length);
    return offset;
  }
  /** RIP after an instruction that falls through; what the stored result is the difference to. */
  finish() {
    this.view.setUint32(S_RIP, this.start + this.codeLength, true);
  }
};

// test/vectors/core.ts
var wasm = globalThis.WebAssembly;
var CPU = CPU_AREA;
var UOPS = 1048576;
var UOPS_END = 5242880;
var BLOCKS = 5242880;
var BLOCK_ENTRIES = 4096;
var PAGE_INFO = 6291456;
var RAM = 8388608;
var RAM_SIZE = 1048576;
var TEMPLATE = 2048;
var PML4 = 4096;
var PDPT = 8192;
var LOW_DIRECTORY = 12288;
var LOW_TABLE = 16384;
var ARENA_DIRECTORY = 20480;
var ARENA_TABLE = 24576;
var GDT = 28672;
var IDT = 32768;
var TSS = 36864;
var KERNEL_STACK = 45056;
var KERNEL_PDPT = 53248;
var HANDLERS = 49152;
var P_CODE = 65536;
var P_DATA = 73728;
var P_READ_ONLY = 81920;
var P_STACK = 86016;
var KERNEL = 0xffff800000000000n;
var PRESENT = 1n;
var WRITE = 2n;
var USER = 4n;
var NO_EXECUTE = 1n << 63n;
var KERNEL_CODE = 16;
var TASK = 64;
var EXIT_HALT = 1;
var PAGE_FAULT = 14;
var WITH_ERROR_CODE = /* @__PURE__ */ new Set([8, 10, 11, 12, 13, 14, 17]);
var CoreExecutor = class {
  exports;
  bytes;
  view;
  templates;
  codeAt = P_CODE;
  codeLength = 0;
  constructor(file) {
    const memory2 = new wasm.Memory({ initial: 1024, maximum: 65536, shared: true });
    const env = { memory: memory2, busRead: () => 4294967295, busWrite: () => void 0, hostNs: () => 0, hostRandom: () => 4 };
    this.exports = new wasm.Instance(new wasm.Module(fs.readFileSync(file)), { env }).exports;
    this.bytes = new Uint8Array(memory2.buffer);
    this.view = new DataView(memory2.buffer);
    this.setUpMachine();
    this.setUpTables();
    this.templates = { 64: this.template(64), 32: this.template(32) };
    this.exports.refreshCpu(CPU);
  }
  setUpMachine() {
    const { view } = this;
    const set = (at, value) => {
      view.setUint32(at, value, true);
    };
    set(G_CPU_COUNT, 1);
    set(G_CLOCK_MODE, 1);
    set(G_UOP_BASE, UOPS);
    set(G_UOP_END, UOPS_END);
    set(G_UOP_NEXT, UOPS);
    set(G_BLOCK_TABLE, BLOCKS);
    set(G_BLOCK_MASK, BLOCK_ENTRIES - 1);
    set(G_PAGE_INFO, PAGE_INFO);
    set(G_RAM_BASE, RAM);
    set(G_RAM_END, RAM + RAM_SIZE);
    set(G_RANGE_COUNT, 1);
    view.setBigUint64(G_RANGES, 0n, true);
    view.setBigUint64(G_RANGES + 8, BigInt(RAM_SIZE), true);
    set(G_RANGES + 16, RAM);
    this.exports.initialise();
    this.exports.resetCpu(CPU, 0, false);
  }
  setUpTables() {
    const { view } = this;
    const put = (at, value) => {
      view.setBigUint64(RAM + at, value, true);
    };
    const index = (address, shift) => (address / 2 ** shift & 511) * 8;
    const table = PRESENT | WRITE | USER | 0x60n;
    put(PML4, BigInt(PDPT) | table);
    put(PML4 + 256 * 8, BigInt(KERNEL_PDPT) | table);
    put(KERNEL_PDPT, BigInt(LOW_DIRECTORY) | table);
    put(PDPT + index(CODE, 30), BigInt(ARENA_DIRECTORY) | table);
    put(LOW_DIRECTORY, BigInt(LOW_TABLE) | table);
    put(ARENA_DIRECTORY + index(CODE, 21), BigInt(ARENA_TABLE) | table);
    for (let page = 0; page < RAM_SIZE; page += 4096) put(LOW_TABLE + page / 512, BigInt(page) | PRESENT | WRITE | 0x60n);
    const map = (address, physical, pages, flags) => {
      for (let i = 0; i < pages; i++) put(ARENA_TABLE + index(address + i * 4096, 12), BigInt(physical + i * 4096) | PRESENT | USER | 0x60n | flags);
    };
    map(CODE, P_CODE, 2, WRITE);
    map(DATA, P_DATA, 2, WRITE | NO_EXECUTE);
    map(READ_ONLY, P_READ_ONLY, 1, NO_EXECUTE);
    map(STACK, P_STACK, 1, WRITE | NO_EXECUTE);
    this.bytes.set(READ_ONLY_BYTES, RAM + P_READ_ONLY);
    this.bytes.fill(204, RAM + P_CODE, RAM + P_CODE + CODE_SIZE);
    put(GDT + 16, 0x00af9b000000ffffn);
    put(GDT + 24, 0x00cf93000000ffffn);
    put(GDT + 32, 0x00cffb000000ffffn);
    put(GDT + 40, 0x00cff3000000ffffn);
    put(GDT + 48, 0x00affb000000ffffn);
    put(TSS + 4, KERNEL + BigInt(KERNEL_STACK));
    for (let vector = 0; vector < 32; vector++) {
      const target = KERNEL + BigInt(HANDLERS + vector * 16);
      put(IDT + vector * 16, target & 0xffffn | BigInt(KERNEL_CODE) << 16n | 0xee00n << 32n | (target >> 16n & 0xffffn) << 48n);
      put(IDT + vector * 16 + 8, target >> 32n);
      view.setUint8(RAM + HANDLERS + vector * 16, 244);
    }
  }
  /** The state bytes of a vCPU in user mode. */
  template(mode) {
    const { view } = this;
    const big = (at, value) => {
      view.setBigUint64(CPU + at, value, true);
    };
    const segment = (number, selector, attributes, limit, base) => {
      const at = SEG + number * SEG_SIZE;
      big(at + SEG_BASE, base);
      view.setUint32(CPU + at + SEG_LIMIT, limit, true);
      view.setUint32(CPU + at + SEG_ATTR, attributes, true);
      view.setUint16(CPU + at + SEG_SELECTOR, selector, true);
    };
    if (mode === 64) segment(CS, USER_CODE64, 10550016, 4294967295, 0n);
    else segment(CS, USER_CODE32, 12647168, 4294967295, 0n);
    for (const number of [ES, SS, DS]) segment(number, USER_DATA, 12645120, 4294967295, 0n);
    for (const number of [FS, GS, LDTR]) segment(number, 0, 1, 0, 0n);
    segment(TR, TASK, 35584, 103, KERNEL + BigInt(TSS));
    big(GDTR_BASE, KERNEL + BigInt(GDT));
    view.setUint32(CPU + GDTR_LIMIT, 79, true);
    big(IDTR_BASE, KERNEL + BigInt(IDT));
    view.setUint32(CPU + IDTR_LIMIT, 32 * 16 - 1, true);
    big(CR0, 0x80050033n);
    big(CR3, BigInt(PML4));
    big(CR4, 0x106a0n);
    big(EFER, 0xd01n);
    view.setUint32(CPU + CPL, 3, true);
    view.setUint32(CPU + CC_OP, CC_EFLAGS, true);
    view.setUint32(CPU + HALTED, 0, true);
    view.setInt32(CPU + EXCEPTION, -1, true);
    this.exports.refreshCpu(CPU);
    return this.bytes.slice(CPU, CPU + TEMPLATE);
  }
  load(state) {
    const { bytes, view } = this;
    bytes.set(this.templates[state.mode], CPU);
    bytes.set(state.bytes.subarray(S_GPR, S_GPR + 128), CPU + GPR);
    view.setBigUint64(CPU + RIP, BigInt(state.start), true);
    const flags = state.view.getUint32(S_RFLAGS, true);
    view.setBigUint64(CPU + RFLAGS, BigInt(flags & ~ARITHMETIC | 2), true);
    view.setBigUint64(CPU + CC_SRC, BigInt(flags & ARITHMETIC), true);
    bytes.set(state.bytes.subarray(S_XMM, S_XMM + 256), CPU + XMM);
    view.setUint32(CPU + MXCSR, state.view.getUint32(S_MXCSR, true), true);
    view.setUint16(CPU + FCW, state.view.getUint16(S_FCW, true), true);
    view.setUint16(CPU + FSW, state.view.getUint16(S_FSW, true), true);
    view.setUint8(CPU + FTW, state.bytes[S_FTW]);
    bytes.set(state.bytes.subarray(S_FPR, S_FPR + 128), CPU + FPR);
    bytes.set(state.bytes.subarray(S_FS_BASE, S_FS_BASE + 8), CPU + SEG + FS * SEG_SIZE);
    bytes.set(state.bytes.subarray(S_GS_BASE, S_GS_BASE + 8), CPU + SEG + GS * SEG_SIZE);
    bytes.set(state.bytes.subarray(S_MEMORY, S_STACK), RAM + P_DATA);
    bytes.set(state.bytes.subarray(S_STACK), RAM + P_STACK);
    bytes.fill(204, this.codeAt, this.codeAt + this.codeLength);
    if (this.codeLength > 0) this.exports.invalidateRange(this.codeAt, this.codeLength);
    this.codeAt = RAM + P_CODE + state.start - CODE;
    this.codeLength = state.codeLength;
    bytes.set(state.code.subarray(0, state.codeLength), this.codeAt);
    this.exports.invalidateRange(this.codeAt, this.codeLength);
  }
  /** Runs one vector. `expectedRip` only tells a stepping run whether a fetch fault is still to come. */
  run(state, mode, expectedTrap, result) {
    this.load(state);
    this.exports.setSpecialised(mode.specialised);
    const view = new DataView(result.buffer, result.byteOffset);
    if (mode.path === "step") this.step(view, state, expectedTrap);
    else this.runToHandler(view);
    this.collect(state, result, view);
  }
  rip() {
    return this.view.getBigUint64(CPU + RIP, true);
  }
  step(result, state, expectedTrap) {
    let trap = this.exports.stepCpu(CPU);
    for (let i = 0; i < 64 && trap < 0 && (expectedTrap !== 3 || this.rip() === BigInt(state.start)) && this.rip() < KERNEL; i++) trap = this.exports.stepCpu(CPU);
    if (this.rip() >= KERNEL) {
      this.handlerFrame(result, Number(this.rip() - KERNEL));
      return;
    }
    result.setUint32(S_TRAP, trap < 0 ? 3 : trap, true);
    result.setUint32(S_ERROR, WITH_ERROR_CODE.has(trap) ? this.view.getUint32(CPU + ERROR_CODE, true) : 0, true);
    result.setBigUint64(S_CR2, trap === PAGE_FAULT ? this.view.getBigUint64(CPU + CR2, true) : 0n, true);
    result.setBigUint64(S_RIP, this.view.getBigUint64(CPU + RIP, true), true);
    result.setBigUint64(S_RFLAGS, this.exports.getRflags(CPU), true);
    this.copySelectors(result);
    for (let i = 0; i < 16; i++) result.setBigUint64(S_GPR + i * 8, this.view.getBigUint64(CPU + GPR + i * 8, true), true);
  }
  /** The final exception is delivered: its frame on the kernel stack holds RIP, RFLAGS, RSP and the error code. */
  runToHandler(result) {
    const reason = this.exports.runCpu(CPU, 5000n);
    const rip = Number(this.rip() - KERNEL);
    this.handlerFrame(result, reason === EXIT_HALT ? rip - 1 : -1);
  }
  /** Reads the final state off the interrupt frame. @param handler offset of the handler that was entered */
  handlerFrame(result, handler) {
    const { view } = this;
    const trap = handler >= HANDLERS && handler < HANDLERS + 512 ? (handler - HANDLERS) / 16 : 255;
    const frame = RAM + Number(view.getBigUint64(CPU + GPR + 32, true) & 0xffffn);
    const withError = WITH_ERROR_CODE.has(trap);
    const at = withError ? frame + 8 : frame;
    for (let i = 0; i < 16; i++) result.setBigUint64(S_GPR + i * 8, view.getBigUint64(CPU + GPR + i * 8, true), true);
    result.setUint32(S_TRAP, trap, true);
    result.setUint32(S_ERROR, withError ? view.getUint32(frame, true) : 0, true);
    result.setBigUint64(S_CR2, trap === PAGE_FAULT ? view.getBigUint64(CPU + CR2, true) : 0n, true);
    const pushed = view.getBigUint64(at, true);
    result.setBigUint64(S_RIP, trap === 3 ? pushed - 1n : pushed, true);
    result.setBigUint64(S_RFLAGS, view.getBigUint64(at + 16, true), true);
    result.setBigUint64(S_GPR + 32, view.getBigUint64(at + 24, true), true);
    this.copySelectors(result);
    result.setUint16(S_SELECTORS + 2, view.getUint16(at + 8, true), true);
    result.setUint16(S_SELECTORS + 4, view.getUint16(at + 32, true), true);
  }
  copySelectors(result) {
    for (let i = 0; i < 6; i++) result.setUint16(S_SELECTORS + i * 2, this.view.getUint16(CPU + SEG + i * SEG_SIZE + SEG_SELECTOR, true), true);
  }
  collect(state, result, out) {
    const { bytes, view } = this;
    out.setUint32(S_MXCSR, view.getUint32(CPU + MXCSR, true), true);
    out.setUint16(S_FCW, view.getUint16(CPU + FCW, true), true);
    out.setUint16(S_FSW, view.getUint16(CPU + FSW, true), true);
    out.setUint32(S_FTW, view.getUint8(CPU + FTW), true);
    out.setUint32(S_FTW + 4, 0, true);
    for (let i = 0; i < 8; i++) {
      result.set(bytes.subarray(CPU + FPR + i * 16, CPU + FPR + i * 16 + 10), S_FPR + i * 16);
      result.fill(0, S_FPR + i * 16 + 10, S_FPR + i * 16 + 16);
    }
    result.set(bytes.subarray(CPU + XMM, CPU + XMM + 256), S_XMM);
    result.set(bytes.subarray(CPU + SEG + FS * SEG_SIZE, CPU + SEG + FS * SEG_SIZE + 8), S_FS_BASE);
    result.set(bytes.subarray(CPU + SEG + GS * SEG_SIZE, CPU + SEG + GS * SEG_SIZE + 8), S_GS_BASE);
    result.fill(0, S_SELECTORS + 12, S_MEMORY);
    result.set(bytes.subarray(RAM + P_DATA, RAM + P_DATA + (S_STACK - S_MEMORY)), S_MEMORY);
    result.set(bytes.subarray(RAM + P_STACK, RAM + P_STACK + (result.length - S_STACK)), S_STACK);
  }
};

// test/vectors/replay.ts
import fs2 from "node:fs";
import path from "node:path";

// test/vectors/compare.ts
var NAMES = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
var C1 = 512;
function hex(view, at, bytes) {
  let text = "";
  for (let i = bytes - 1; i >= 0; i--) text += view.getUint8(at + i).toString(16).padStart(2, "0");
  return text;
}
function differences(wanted, got) {
  const a = new DataView(wanted.buffer, wanted.byteOffset), b = new DataView(got.buffer, got.byteOffset);
  const out = [];
  const field = (name, at, bytes) => {
    const left = hex(a, at, bytes), right = hex(b, at, bytes);
    if (left !== right) out.push(`${name} ${left.replace(/^0+(?=.)/, "")}/${right.replace(/^0+(?=.)/, "")}`);
  };
  field("trap", S_TRAP, 4);
  field("error", S_ERROR, 4);
  field("rip", S_RIP, 8);
  field("cr2", S_CR2, 8);
  field("flags", S_RFLAGS, 8);
  NAMES.forEach((name, i) => {
    field(name, S_GPR + i * 8, 8);
  });
  field("mxcsr", S_MXCSR, 4);
  field("fcw", S_FCW, 2);
  field("fsw", S_FSW, 2);
  field("ftw", S_FTW, 1);
  for (let i = 0; i < 8; i++) field(`r${i}`.replace("r", "R"), S_FPR + i * 16, 10);
  for (let i = 0; i < 16; i++) field(`xmm${i}`, S_XMM + i * 16, 16);
  field("fsbase", S_FS_BASE, 8);
  field("gsbase", S_GS_BASE, 8);
  ["es", "cs", "ss", "ds", "fs", "gs"].forEach((name, i) => {
    field(name, S_SELECTORS + i * 2, 2);
  });
  for (let at = S_MEMORY; at < SNAPSHOT && out.length < 40; at += 8) field(`mem+${(at - S_MEMORY).toString(16)}`, at, 8);
  return out;
}
function order32(bits) {
  return bits >= 2147483648 ? -(bits - 2147483648) : bits;
}
function float32Close(a, b, at, tolerance) {
  const left = a.getUint32(at, true), right = b.getUint32(at, true);
  return left === right || Math.abs(order32(left) - order32(right)) <= tolerance;
}
function float80Close(a, b, at, tolerance) {
  const signA = a.getUint16(at + 8, true), signB = b.getUint16(at + 8, true);
  if ((signA ^ signB) & 32768) return false;
  const left = BigInt(signA & 32767) << 63n | a.getBigUint64(at, true) & 0x7fffffffffffffffn;
  const right = BigInt(signB & 32767) << 63n | b.getBigUint64(at, true) & 0x7fffffffffffffffn;
  const distance = left > right ? left - right : right - left;
  return distance <= BigInt(tolerance);
}
function forgive(row4, wanted, got) {
  if (typeof row4.tolerance !== "number") return;
  const a = new DataView(wanted.buffer, wanted.byteOffset), b = new DataView(got.buffer, got.byteOffset);
  if (row4.unit === "sse") {
    for (let at = S_XMM; at < S_XMM + 256; at += 4) if (float32Close(a, b, at, row4.tolerance)) b.setUint32(at, a.getUint32(at, true), true);
    return;
  }
  for (let at = S_FPR; at < S_FPR + 128; at += 16) {
    if (!float80Close(a, b, at, row4.tolerance)) continue;
    got.set(wanted.subarray(at, at + 10), at);
  }
  const status = a.getUint16(S_FSW, true);
  b.setUint16(S_FSW, b.getUint16(S_FSW, true) & ~C1 | status & C1, true);
}
function equal(wanted, got) {
  return Buffer.compare(wanted, got) === 0;
}

// test/vectors/encode.ts
var Encoding = class {
  lock = false;
  operand16 = false;
  address32 = false;
  segment = 0;
  repeat = 0;
  rex = 0;
  rexPresent = false;
  opcode = 0;
  hasModRm = false;
  reg = 0;
  rm = 0;
  /** -1: register */
  mod = -1;
  sib = -1;
  displacementBytes = 0;
  displacement = 0;
  ripRelative = false;
  immediateBytes = 0;
  immediate = new DataView(new ArrayBuffer(16));
  /** Linear address of the memory operand, 0 if there is none in reach. */
  address = 0;
  clear(opcode) {
    this.lock = this.operand16 = this.address32 = this.rexPresent = this.hasModRm = this.ripRelative = false;
    this.segment = this.repeat = this.rex = this.reg = this.rm = this.displacementBytes = this.displacement = this.immediateBytes = this.address = 0;
    this.mod = this.sib = -1;
    this.opcode = opcode;
  }
  /** Register number in ModRM.reg, 0..15. */
  setReg(register) {
    this.reg = register & 7;
    this.hasModRm = true;
    if (register >= 8) this.rex |= 4;
  }
  setRmRegister(register) {
    this.mod = -1;
    this.rm = register & 7;
    this.hasModRm = true;
    if (register >= 8) this.rex |= 1;
  }
  addImmediate(bytes, low, high = 0) {
    this.immediate.setInt32(this.immediateBytes, low | 0, true);
    if (bytes === 8) this.immediate.setInt32(this.immediateBytes + 4, high | 0, true);
    this.immediateBytes += bytes;
  }
  /** Writes the bytes to `state.code`. */
  emit(state) {
    const out = state.code;
    let n = 0;
    if (this.segment !== 0) out[n++] = this.segment;
    if (this.lock) out[n++] = 240;
    if (this.operand16) out[n++] = 102;
    if (this.address32) out[n++] = 103;
    if (this.repeat !== 0) out[n++] = this.repeat;
    if (this.rex !== 0 || this.rexPresent) out[n++] = 64 | this.rex;
    if (this.opcode >= 65536) out[n++] = 15;
    if (this.opcode >= 256) out[n++] = this.opcode >> 8 & 255;
    out[n++] = this.opcode & 255;
    if (this.hasModRm) {
      const mod = this.mod < 0 ? 3 : this.mod;
      out[n++] = mod << 6 | this.reg << 3 | this.rm;
      if (this.sib >= 0) out[n++] = this.sib;
    }
    if (this.ripRelative) this.displacement = this.address - (state.start + n + 4 + this.immediateBytes);
    for (let i = 0; i < this.displacementBytes; i++) out[n++] = this.displacement >> i * 8 & 255;
    for (let i = 0; i < this.immediateBytes; i++) out[n++] = this.immediate.getUint8(i);
    state.codeLength = n;
    state.finish();
  }
};
function placeOperand(random, reach) {
  const align = reach.align ?? 1;
  const down = (address2) => address2 - address2 % align;
  if (reach.safe !== true && random.chance(4)) {
    switch (random.below(4)) {
      case 0:
        return down(GUARD + random.below(2048));
      case 1:
        return GUARD - (align === 1 ? random.between(1, reach.bytes) : align >= reach.bytes ? 0 : align);
      case 2:
        return down(READ_ONLY + random.below(4096 - reach.bytes));
      default:
        return -1;
    }
  }
  if (align === 1 && random.chance(6)) return DATA + 4096 - random.between(1, reach.bytes);
  const natural = align > 1 ? align : random.chance(50) ? Math.min(reach.bytes, 16) & -Math.min(reach.bytes, 16) : 1;
  const address = DATA + 256 + random.below(7680 - reach.bytes);
  return address - address % natural;
}
var BIG = 4294967296n;
function memoryOperand(random, state, encoding, reach) {
  encoding.hasModRm = true;
  const target = placeOperand(random, reach);
  encoding.address = target > 0 ? target : 0;
  const wide = state.mode === 64;
  const keep = reach.keep ?? [];
  const free = (register) => !keep.includes(register);
  let linear = target > 0 ? BigInt(target) : 0x123456789abcdef0n;
  if (target < 0 && !wide) linear = BigInt(GUARD);
  if (wide && random.chance(6)) {
    const gs = random.chance(50);
    encoding.segment = gs ? 101 : 100;
    const base2 = BigInt(random.below(65536) * 16);
    state.view.setBigUint64(gs ? S_GS_BASE : S_FS_BASE, base2, true);
    linear = linear - base2 & 0xffffffffffffffffn;
  } else if (random.chance(4)) encoding.segment = random.pick(wide ? [38, 46, 54, 62] : [38, 54, 62]);
  const narrow = !wide || target > 0 && random.chance(8);
  if (narrow && wide) encoding.address32 = true;
  const modulus = narrow ? BIG : BIG * BIG;
  const direct = target > 0 && linear < 0x7fffffffn;
  const kind = random.below(10);
  const registers = wide ? 16 : 8;
  const setAddress = (register, value) => {
    let wrapped = (value % modulus + modulus) % modulus;
    if (narrow && wide) wrapped |= BigInt(random.next()) << 32n;
    state.setGpr64(register, wrapped);
  };
  const base = (() => {
    for (; ; ) {
      const register = random.below(registers);
      if (free(register)) return register;
    }
  })();
  if (direct && kind === 0 && encoding.segment !== 100 && encoding.segment !== 101) {
    encoding.mod = 0;
    encoding.rm = 5;
    encoding.displacementBytes = 4;
    encoding.ripRelative = wide;
    encoding.displacement = Number(linear);
    return encoding.address;
  }
  if (direct && kind === 1) {
    encoding.mod = 0;
    encoding.rm = 4;
    encoding.sib = 37 | random.below(4) << 6;
    encoding.displacementBytes = 4;
    encoding.displacement = Number(linear);
    return encoding.address;
  }
  const size = random.below(3);
  encoding.displacement = size === 0 ? 0 : size === 1 ? random.between(-128, 127) : random.next() | 0;
  encoding.displacementBytes = size === 0 ? 0 : size === 1 ? 1 : 4;
  encoding.mod = size;
  if (size === 0 && (base & 7) === RBP) {
    encoding.mod = 1;
    encoding.displacementBytes = 1;
  }
  const displacement = BigInt(encoding.displacement);
  if (kind >= 6 || (base & 7) === RSP) {
    let index = random.below(registers);
    while (index === base || !free(index) || index === RSP) index = random.below(registers);
    const scale = random.below(4);
    const none = kind < 6 || random.chance(10);
    encoding.rm = 4;
    encoding.sib = scale << 6 | (none ? 4 : index & 7) << 3 | base & 7;
    if (base >= 8) encoding.rex |= 1;
    if (!none && index >= 8) encoding.rex |= 2;
    if (none) setAddress(base, linear - displacement);
    else {
      if (random.chance(60)) state.setGpr(index, random.between(-100, 100));
      setAddress(base, linear - displacement - (BigInt.asIntN(64, state.gpr(index)) << BigInt(scale)));
    }
    return encoding.address;
  }
  encoding.rm = base & 7;
  if (base >= 8) encoding.rex |= 1;
  setAddress(base, linear - displacement);
  return encoding.address;
}

// test/vectors/generate-fp.ts
var FLOAT322 = /(ps|ss)$|^cvt(t?)(ps|ss)/;
var FLOAT642 = /(pd|sd)$|^cvt(t?)(pd|sd)/;
var INTEGER_NAMES = /^(p|mov(sd|ss|q|d)|cvt(dq|si|pi)|lddqu|maskmov|mpsad)/;
var SHIFT = /^ps(ll|rl|ra)[wdq]$/;
function drawMxcsr(random) {
  let value = random.below(4) << 13 | 8064;
  if (random.chance(15)) value &= ~(random.below(64) << 7);
  if (random.chance(15)) value |= random.next() & 63;
  if (random.chance(10)) value |= 32768;
  if (random.chance(10)) value |= 64;
  return value;
}
function drawControl(random) {
  let value = random.below(4) << 10 | (random.chance(60) ? 768 : random.pick([0, 512, 512, 256])) | 127;
  if (random.chance(20)) value &= ~random.below(64);
  if (random.chance(10)) value ^= 4096;
  return value;
}
function drawStatus(random, control, pending) {
  let value = random.below(8) << 11 | random.next() & 18176;
  if (random.chance(20)) value |= random.next() & 127;
  if (!pending) value &= ~(~control & 63);
  return (value & ~control & 63) !== 0 ? value | 32896 : value;
}
function lanesFor(random, row4) {
  if (random.chance(12)) return random.pick(["integer", "float32", "float64"]);
  if (INTEGER_NAMES.test(row4.name)) return "integer";
  if (FLOAT322.test(row4.name)) return "float32";
  if (FLOAT642.test(row4.name)) return "float64";
  return "integer";
}
function floatState(random, state, row4) {
  const { view } = state;
  if (row4.unit === "sse") view.setUint32(S_MXCSR, drawMxcsr(random), true);
  const usesX87 = row4.unit === "x87" || row4.unit === "mmx" || /(^|,)[PNQ]/.test(row4.form);
  if (usesX87) {
    const control = drawControl(random);
    view.setUint16(S_FCW, control, true);
    view.setUint16(S_FSW, drawStatus(random, control, random.chance(4)), true);
    view.setUint8(S_FTW, random.chance(60) ? 255 : random.chance(30) ? 0 : random.next() & 255);
    for (let i = 0; i < 8; i++) {
      const at = S_FPR + i * 16;
      if (row4.unit === "x87" && !random.chance(5)) float80(random, view, at, spreadOf(row4));
      else {
        lanes(random, view, at, lanesFor(random, row4));
        view.setUint16(at + 8, random.chance(80) ? 65535 : random.next() & 65535, true);
        clearPad(state, at);
      }
    }
  }
  if (row4.unit === "sse" || row4.form === "st512") for (let i = 0; i < 16; i++) lanes(random, view, S_XMM + i * 16, lanesFor(random, row4));
}
function clearPad(state, at) {
  state.view.setUint16(at + 10, 0, true);
  state.view.setUint32(at + 12, 0, true);
}
function spreadOf(row4) {
  if (row4.name === "f2xm1") return 20;
  if (row4.name === "fyl2xp1") return 16;
  if (/^f(sin|cos|ptan|patan)/.test(row4.name)) return 40;
  return 70;
}
function fillXmm(random, state, address, bytes, kind) {
  const at = state.poke(address, bytes);
  if (at < 0) return;
  lanes(random, scratch, 0, kind);
  for (let i = 0; i < Math.min(16, bytes); i++) state.view.setUint8(at + i, scratch.getUint8(i));
}
var scratch = new DataView(new ArrayBuffer(16));
function simdOperands(random, state, encoding, group) {
  const { row: row4 } = group;
  prefixes(random, encoding, row4);
  const tokens = row4.form.split(",");
  if (row4.form === "maskmov") {
    state.wideOperand = true;
    const at = placeOperand(random, { bytes: row4.unit === "mmx" ? 8 : 16 });
    state.setGpr64(RDI, at < 0 ? 0x8123000000000000n : BigInt(at));
    encoding.setReg(random.below(row4.unit === "mmx" ? 8 : 16));
    const mask = random.below(row4.unit === "mmx" ? 8 : 16);
    encoding.setRmRegister(mask);
    if (at < DATA || at + 16 > DATA + DATA_SIZE) {
      const from = row4.unit === "mmx" ? S_FPR + mask * 16 : S_XMM + mask * 16;
      for (let i = 0; i < (row4.unit === "mmx" ? 8 : 16); i++) state.view.setUint8(from + i, state.view.getUint8(from + i) | 128);
    }
    if (random.chance(8) && at > 0) {
      encoding.address32 = true;
      state.setGpr64(RDI, BigInt(at) | BigInt(random.next()) << 32n);
    }
    return;
  }
  const kind = SHIFT.test(row4.name) && random.chance(70) ? "count" : lanesFor(random, row4);
  let reg = -1;
  for (const token of tokens) {
    if (/^[VG]/.test(token)) {
      reg = random.below(16);
      encoding.setReg(reg);
    } else if (token.startsWith("P")) {
      reg = random.below(8);
      encoding.setReg(reg);
    }
  }
  if (row4.reg !== void 0) {
    encoding.reg = row4.reg;
    encoding.hasModRm = true;
  }
  const rmToken = tokens.find((token) => /^[WUMQNE]/.test(token)) ?? "";
  if (group.place === "register") {
    const rm = random.chance(10) && reg >= 0 ? reg : random.below(/^[QN]/.test(rmToken) ? 8 : 16);
    encoding.setRmRegister(rm);
    if (kind === "count") {
      const at = /^[QN]/.test(rmToken) ? S_FPR + (rm & 7) * 16 : S_XMM + rm * 16;
      lanes(random, scratch, 0, kind);
      for (let i = 0; i < 8; i++) state.view.setUint8(at + i, scratch.getUint8(i));
    }
  } else {
    const bytes = Number(/\d+/.exec(rmToken)?.[0] ?? 8);
    const aligned = rmToken.endsWith("a");
    const address = memoryOperand(random, state, encoding, { bytes, align: aligned && !random.chance(4) ? 16 : 1, keep: /^pcmpe/.test(row4.name) ? [RAX, RDX] : [] });
    if (address !== 0) fillXmm(random, state, address, bytes, kind);
  }
  if (tokens.includes("Ib")) encoding.addImmediate(1, SHIFTED.test(row4.name) ? random.pick([0, 1, 7, 8, 15, 16, 31, 32, 63, 64, 255, random.below(20)]) : random.below(256));
  if (/^pcmpestr/.test(row4.name) && random.chance(80)) {
    for (const register of [RAX, RDX]) {
      const length = BigInt(random.between(-18, 18));
      state.setGpr64(register, random.chance(80) ? length : BigInt.asUintN(32, length));
    }
  }
  if (/^pcmp[ei]str/.test(row4.name) && random.chance(70)) smallAlphabet(random, state, encoding, group);
}
var SHIFTED = /^ps(ll|rl|ra)|^palignr/;
function smallAlphabet(random, state, encoding, group) {
  const fill = (at) => {
    for (let i = 0; i < 16; i++) state.view.setUint8(at + i, random.pick([0, 65, 66, 66, 67, 128, 129, 65]));
  };
  fill(S_XMM + (encoding.reg | (encoding.rex & 4) << 1) * 16);
  if (group.place === "register") fill(S_XMM + (encoding.rm | (encoding.rex & 1) << 3) * 16);
  else if (encoding.address !== 0) {
    const at = state.poke(encoding.address, 16);
    if (at >= 0) fill(at);
  }
}
function prefixes(random, encoding, row4) {
  if (row4.pp === 102) encoding.operand16 = true;
  else if (row4.pp === 242 || row4.pp === 243) encoding.repeat = row4.pp;
  if (row4.w === 1) encoding.rex |= 8;
  else if (row4.w === void 0 && random.chance(8)) encoding.rex |= 8;
  if (random.chance(10)) encoding.rexPresent = true;
}
function x87Operands(random, state, encoding, row4) {
  prefixes(random, encoding, row4);
  if (row4.reg !== void 0) {
    encoding.reg = row4.reg;
    encoding.hasModRm = true;
  }
  if (row4.mod === "r") {
    encoding.setRmRegister(row4.rm ?? random.below(8));
  }
  operandsFor(random, state, row4);
  const match = /^(ld|st)(\d+|env|save)$/.exec(row4.form);
  if (match === null) return;
  const short = (match[2] === "env" || match[2] === "save") && random.chance(40);
  if (short) {
    encoding.operand16 = true;
    encoding.rex &= ~8;
  }
  const bytes = match[2] === "env" ? short ? 14 : 28 : match[2] === "save" ? short ? 94 : 108 : Number(match[2]);
  const align = bytes === 512 && !random.chance(4) ? 16 : 1;
  state.wideOperand = bytes > 10;
  const address = memoryOperand(random, state, encoding, { bytes, align });
  if (address === 0) return;
  const at = state.poke(address, bytes);
  if (match[1] === "st") {
    if (at >= 0) ignoreStored(state, row4, at, bytes);
    return;
  }
  if (at < 0) return;
  const { view } = state;
  if (bytes === 512) saveArea(random, state, at);
  else if (match[2] === "env" || match[2] === "save") environment(random, state, at, bytes);
  else if (row4.name === "fldcw") view.setUint16(at, random.chance(80) ? drawControl(random) : random.next() & 65535, true);
  else if (row4.name === "ldmxcsr") view.setUint32(at, random.chance(90) ? drawMxcsr(random) : random.next() & (random.chance(50) ? 65535 : 2147483647), true);
  else if (row4.name === "fbld") packedDecimal(random, view, at);
  else {
    if (bytes === 4 && row4.name.startsWith("fi")) {
      integer(random, scratch, 0);
      view.setUint32(at, scratch.getUint32(0, true), true);
    } else if (bytes === 2) {
      integer(random, scratch, 0);
      view.setUint16(at, scratch.getUint16(0, true), true);
    } else if (bytes === 4) float32(random, view, at);
    else if (bytes === 8 && row4.name === "fild") integer(random, view, at);
    else if (bytes === 8) float64(random, view, at);
    else float80(random, view, at, 70);
  }
}
function operandsFor(random, state, row4) {
  const { view } = state;
  const top = view.getUint16(S_FSW, true) >> 11 & 7;
  const st = (i) => S_FPR + (top + i & 7) * 16;
  if (row4.name === "fscale" && random.chance(60)) {
    const value = random.between(-2e4, 2e4);
    writeInteger(state, st(1), random.chance(50) ? value : value >> 8);
  }
  if (/^f(st|stp|ist|istp|isttp|bstp)$/.test(row4.name) && random.chance(60)) {
    const width = row4.form === "st2" ? 15 : row4.form === "st4" ? row4.name.startsWith("fi") ? 31 : 128 : row4.form === "st8" ? row4.name.startsWith("fi") ? 63 : 1024 : 60;
    if (row4.name.startsWith("fi") || row4.name === "fbstp") view.setUint16(st(0) + 8, 16383 + random.between(-3, width + 1) | random.next() & 32768, true);
    else view.setUint16(st(0) + 8, 16383 + random.pick([-width - 3, -width + 1, -width - 20, width - 1, width, 0, -width - 24, -width - 53]) & 32767 | random.next() & 32768, true);
    if (view.getUint32(st(0) + 4, true) < 2147483648) view.setUint32(st(0) + 4, 2147483648, true);
  }
  if ((row4.name === "fprem" || row4.name === "fprem1") && random.chance(60)) {
    const exponent = view.getUint16(st(1) + 8, true) & 32767;
    view.setUint16(st(0) + 8, Math.min(32766, Math.max(1, exponent + random.pick([-2, -1, 0, 1, 2, 5, 62, 63, 64, 70]))), true);
  }
  if (row4.name.startsWith("fyl2x") && random.chance(80)) view.setUint16(st(0) + 8, view.getUint16(st(0) + 8, true) & 32767, true);
}
function writeInteger(state, at, value) {
  const magnitude = Math.abs(value);
  const shift = magnitude === 0 ? 0 : Math.clz32(magnitude);
  state.view.setUint32(at, 0, true);
  state.view.setUint32(at + 4, magnitude === 0 ? 0 : magnitude << shift >>> 0, true);
  state.view.setUint16(at + 8, (magnitude === 0 ? 0 : 16383 + 31 - shift) | (value < 0 ? 32768 : 0), true);
}
function environment(random, state, at, bytes) {
  const { view } = state;
  const short = bytes === 14 || bytes === 94;
  const step = short ? 2 : 4;
  const control = drawControl(random);
  const status = drawStatus(random, control, random.chance(20));
  for (let i = 0; i < step * 7; i += 2) view.setUint16(at + i, random.next() & 65535, true);
  view.setUint16(at, control, true);
  view.setUint16(at + step, status, true);
  if (random.chance(40)) view.setUint16(at + step * 2, random.chance(50) ? 0 : 65535, true);
  if (bytes > 28) for (let i = 0; i < 8; i++) float80Packed(random, state, at + step * 7 + i * 10);
}
function float80Packed(random, state, at) {
  float80(random, scratch, 0);
  for (let i = 0; i < 10; i++) state.view.setUint8(at + i, scratch.getUint8(i));
}
function saveArea(random, state, at) {
  const { view } = state;
  for (let i = 0; i < 512; i += 4) view.setUint32(at + i, random.next(), true);
  const control = drawControl(random);
  view.setUint16(at, control, true);
  view.setUint16(at + 2, drawStatus(random, control, random.chance(20)), true);
  view.setUint32(at + 24, random.chance(90) ? drawMxcsr(random) : random.next(), true);
  for (let i = 0; i < 8; i++) float80(random, view, at + 32 + i * 16);
  for (let i = 0; i < 16; i++) lanes(random, view, at + 160 + i * 16, "integer");
}
function ignoreStored(state, row4, at, bytes) {
  if (bytes === 512) state.ignored.push(at + 6, 18, at + 28, 4, at + 416, 96);
  else if (bytes === 14 || bytes === 94) state.ignored.push(at + 6, 8);
  else if (bytes === 28 || bytes === 108) state.ignored.push(at + 12, 16);
  if (row4.form === "st512") for (let i = 0; i < 8; i++) state.ignored.push(at + 32 + i * 16 + 10, 6);
}

// test/vectors/generate-int.ts
var LOCKABLE = /^(add|or|adc|sbb|and|sub|xor|not|neg|inc|dec|xchg|xadd|cmpxchg|cmpxchg8b|bts|btr|btc)$/;
var STACK_USERS = /* @__PURE__ */ new Set(["push", "pop", "call", "ret", "enter", "leave", "pushf", "popf", "pusha", "popa", "callf", "retf", "iret"]);
var isString = (group) => group.row.form.startsWith("str");
var isBitString = (group) => /^bt[src]?$/.test(group.row.name) && group.row.form === "Ev,Gv";
function reachOf(group, reg, random) {
  const { row: row4, size } = group;
  const first = row4.form.split(",")[0] ?? "";
  let bytes = /b$/.test(row4.form.split(",").find((token) => /^[EM]/.test(token)) ?? "") || size === 0 ? 1 : size / 8;
  if (/Ew/.test(row4.form) || row4.op === 140 || row4.op === 142) bytes = 2;
  if (row4.form === "Gv,Ed") bytes = 4;
  if (row4.name === "cmpxchg8b") bytes = size / 4;
  if (row4.name === "bound") bytes = size / 4;
  if (/Mp$/.test(row4.form)) bytes = size / 8 + 2;
  const keep = [];
  if (STACK_USERS.has(row4.name)) keep.push(RSP);
  if (isBitString(group)) keep.push(reg);
  if (row4.name.startsWith("cmpxchg") || row4.name === "div" || row4.name === "idiv") keep.push(RAX, RDX);
  if (row4.form.endsWith("CL")) keep.push(RCX);
  const atomic = row4.name === "xchg" || LOCKABLE.test(row4.name) && /^[EM]/.test(first);
  return { bytes, align: atomic ? bytes : 1, safe: isBitString(group) && random.chance(90), keep };
}
function landing(random, state) {
  for (; ; ) {
    const target = CODE + 16 + random.below(8160);
    if (target < state.start - 1 || target > state.start + 16) return target;
  }
}
function indirectTarget(random, state) {
  if (!random.chance(8)) return BigInt(landing(random, state));
  const wide = state.mode === 64;
  switch (random.below(wide ? 3 : 2)) {
    case 0:
      return BigInt(DATA + random.below(4096));
    case 1:
      return BigInt(GUARD + random.below(4096));
    default:
      return 0x800000000000n + BigInt(random.below(65536));
  }
}
function writeValue(state, address, value, bytes) {
  const at = state.poke(address, bytes);
  if (at < 0) return;
  for (let i = 0; i < bytes; i++) state.view.setUint8(at + i, Number(value >> BigInt(i * 8) & 0xffn));
}
function readValue(state, address, bytes) {
  const at = state.poke(address, bytes);
  let value = 0n;
  if (at >= 0) for (let i = bytes - 1; i >= 0; i--) value = value << 8n | BigInt(state.view.getUint8(at + i));
  return value;
}
function draw(random) {
  integer(random, scratch2, 0);
  return scratch2.getBigUint64(0, true);
}
var scratch2 = new DataView(new ArrayBuffer(8));
function randomOperand(random, state, address, bytes) {
  for (let i = 0; i < bytes; i += 8) writeValue(state, address + i, draw(random), Math.min(8, bytes - i));
}
function prepareInteger(random, state, encoding, group, rm, reg) {
  const { row: row4, size } = group;
  const bytes = reachOf(group, reg, random).bytes;
  const memory2 = group.place === "memory" && encoding.address !== 0;
  if (memory2 && !isBitString(group)) randomOperand(random, state, encoding.address, bytes);
  if (memory2 && LOCKABLE.test(row4.name) && /^[EM]/.test(row4.form)) encoding.lock = random.chance(20);
  if (row4.name === "xchg" && group.place === "memory") encoding.lock = random.chance(10);
  if (row4.name === "lea" || row4.handler === "NOP") encoding.lock = false;
  if (isString(group)) {
    strings(random, state, encoding, group);
    return;
  }
  if (isBitString(group) && group.place === "memory") {
    const offset = BigInt(random.between(-12288, 12288));
    const mask = (1n << BigInt(size)) - 1n;
    state.setGpr64(reg, offset & mask | (state.mode === 64 ? draw(random) & ~mask : 0n));
    return;
  }
  branches(random, state, encoding, group, rm);
  stack(random, state, encoding, group);
  arithmetic(random, state, encoding, group, rm);
  special(random, state, encoding, group, rm);
  farTransfers(random, state, encoding, group, rm);
}
function branches(random, state, encoding, group, rm) {
  const { row: row4, mode } = group;
  if (row4.form === "Jb" || row4.form === "Jz") {
    const bytes = row4.form === "Jb" ? 1 : 4;
    const length = bytes + (row4.op >= 256 ? 2 : 1);
    encoding.rex = 0;
    encoding.rexPresent = false;
    if (/^(loop|jcxz)/.test(row4.name)) {
      encoding.address32 = mode === 64 && random.chance(40);
      const upper = encoding.address32 ? random.next() * 4294967296 : 0;
      if (random.chance(70)) state.setGpr64(RCX, BigInt(random.pick([0, 1, 2, 3, 4294967295])) | BigInt(upper));
    }
    const total = length + (encoding.address32 ? 1 : 0);
    for (; ; ) {
      const distance = bytes === 1 ? random.between(-128, 127) : random.between(-2032, 2032);
      if (distance < -total - 1 || distance > 0) {
        encoding.addImmediate(bytes, distance);
        return;
      }
    }
  }
  if (row4.handler === "CALL_IND" || row4.handler === "JMP_IND") {
    const target = indirectTarget(random, state);
    if (group.place === "register" && rm !== RSP) state.setGpr64(rm, target);
    else if (encoding.address !== 0) writeValue(state, encoding.address, target, mode / 8);
  }
}
function stack(random, state, encoding, group) {
  const { row: row4, mode, size } = group;
  if (!STACK_USERS.has(row4.name)) return;
  const wide = mode === 64;
  if (row4.name === "retf" || row4.name === "iret") {
    state.setGpr(RSP, STACK + 1536 + random.below(512));
    if (random.chance(3)) state.setGpr(RSP, GUARD + 2048);
  } else if (row4.name === "pusha" || row4.name === "popa") {
    if (random.chance(3)) state.setGpr(RSP, GUARD + 2048);
  } else if (random.chance(3)) state.setGpr(RSP, random.chance(50) ? STACK + random.below(9) : STACK + 4096 - random.below(9));
  else if (wide && row4.name !== "callf" && random.chance(1)) state.setGpr64(RSP, 0x9000000000000000n);
  const top = Number(state.gpr(RSP) & 0x7fffffffn);
  if (row4.name === "ret") writeValue(state, top, indirectTarget(random, state), mode / 8);
  if (row4.name === "leave" || row4.name === "enter") {
    state.setGpr(RBP, STACK + 1536 + random.below(256) * 4);
    if (random.chance(4)) state.setGpr(RBP, random.pick([STACK + 4096 - 4, GUARD + 16]));
  }
  if (row4.name === "enter") {
    encoding.immediateBytes = 0;
    encoding.addImmediate(2, random.chance(50) ? random.below(16) * 8 : random.below(512));
    encoding.addImmediate(1, random.pick([0, 0, 1, 2, 3, 5, 31, 32, 33]));
  }
  if ((row4.name === "push" || row4.name === "pop") && group.place === "memory" && random.chance(15)) {
    encoding.mod = 1;
    encoding.rm = 4;
    encoding.sib = 36;
    encoding.ripRelative = encoding.address32 = false;
    encoding.segment = 0;
    encoding.rex &= 8;
    encoding.displacementBytes = 1;
    encoding.displacement = random.between(-64, 64);
  }
  if (row4.name === "popf") {
    const image = 2 | random.next() & (ARITHMETIC | DF | 2109952 | 1572864);
    writeValue(state, top, BigInt(image), size / 8);
  }
}
function arithmetic(random, state, encoding, group, rm) {
  const { row: row4, size } = group;
  const width = size === 0 ? 8 : size;
  const mask = (1n << BigInt(width)) - 1n;
  if (row4.form.endsWith("CL") && random.chance(80)) state.view.setUint8(S_GPR + RCX * 8, random.pick([0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, random.below(256)]));
  if (row4.form.endsWith("Ub") && /^(ro|rc|sh|sa)/.test(row4.name) && random.chance(80)) encoding.immediate.setUint8(encoding.immediateBytes - 1, random.pick([0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, random.below(256)]));
  if (size === 16 && (row4.name === "shld" || row4.name === "shrd")) {
    if (row4.form.endsWith("CL")) state.view.setUint8(S_GPR + RCX * 8, random.below(17) | random.below(8) << 5);
    else encoding.immediate.setUint8(0, random.below(17) | random.below(8) << 5);
  }
  if (row4.name === "div" || row4.name === "idiv") {
    const kind = random.below(10);
    if (width === 8) {
      if (kind < 6) state.view.setUint16(S_GPR, random.below(768) - (row4.name === "idiv" ? 384 : 0) & 65535, true);
    } else if (kind < 6) {
      const low = state.gpr(RAX) & mask;
      const negative = row4.name === "idiv" && low >> BigInt(width - 1) !== 0n;
      const extension = negative ? mask : 0n;
      state.setGpr64(RDX, state.gpr(RDX) & ~mask | extension);
    } else if (kind < 9 && rm !== RDX) state.setGpr64(RDX, state.gpr(RDX) & ~mask | (draw(random) & mask) >> BigInt(random.below(width)));
  }
  if (row4.name === "cmpxchg" && random.chance(50)) {
    const value = encoding.address !== 0 ? readValue(state, encoding.address, width / 8) : rm >= 0 && rm !== RSP ? state.gpr(rm) : 0n;
    state.setGpr64(RAX, state.gpr(RAX) & ~mask | value & mask);
  }
  if (row4.name === "cmpxchg8b" && encoding.address !== 0 && random.chance(60)) {
    const half = (1n << BigInt(size)) - 1n;
    const low = readValue(state, encoding.address, size / 8), high = readValue(state, encoding.address + size / 8, size / 8);
    state.setGpr64(RAX, state.gpr(RAX) & ~half | low);
    state.setGpr64(RDX, state.gpr(RDX) & ~half | (random.chance(85) ? high : high ^ 1n));
  }
  if (row4.name === "bound" && encoding.address !== 0) {
    const half = size / 8;
    if (random.chance(60)) {
      writeValue(state, encoding.address, BigInt(-random.below(16384)), half);
      writeValue(state, encoding.address + half, BigInt(random.below(16384)), half);
    }
  }
}
var SELECTORS = [0, 3, USER_DATA, USER_DATA, USER_DATA, USER_DATA - 3, USER_CODE32, USER_CODE64, 1, 2, 16, 24];
function special(random, state, encoding, group, rm) {
  const { row: row4 } = group;
  if (row4.name === "xlat") {
    const at = placeOperand(random, { bytes: 1 });
    const base = BigInt(at < 0 ? GUARD : at) - BigInt(state.view.getUint8(S_GPR));
    state.setGpr64(RBX, state.mode === 32 ? base & 0xffffffffn : base);
  }
  if (row4.handler === "POP_SEG") writeValue(state, Number(state.gpr(RSP) & 0x7fffffffn), BigInt(random.pick(SELECTORS)), 8);
  if (row4.handler === "MOV_TO_SEG") {
    const selector = random.pick(SELECTORS);
    if (group.place === "register") state.view.setUint16(S_GPR + rm * 8, selector, true);
    else if (encoding.address !== 0) writeValue(state, encoding.address, BigInt(selector), 2);
  }
  if (row4.form === "Gv,Mp" && encoding.address !== 0) writeValue(state, encoding.address + group.size / 8, BigInt(random.pick(SELECTORS)), 2);
  if (/^wr[fg]sbase$/.test(row4.name) && group.size === 64 && rm !== RSP) {
    if (!random.chance(10)) state.setGpr64(rm, BigInt.asUintN(64, BigInt.asIntN(47, state.gpr(rm))) & 0x7fffffffffffn);
  }
  if (/^rd[fg]sbase$/.test(row4.name)) {
    state.view.setBigUint64(S_FS_BASE, draw(random) & 0x7fffffffffffn, true);
    state.view.setBigUint64(S_GS_BASE, draw(random) & 0x7fffffffffffn, true);
  }
  const random64 = (register, length = 8) => {
    state.ignored.push(S_GPR + register * 8, length);
  };
  if (row4.name === "cpuid") for (const register of [RAX, RBX, RCX, RDX]) random64(register, 4);
  if (row4.name === "rdtsc" || row4.name === "rdtscp") {
    random64(RAX, 4);
    random64(RDX, 4);
  }
  if (row4.name === "rdtscp") random64(RCX, 4);
  if (row4.name === "rdrand" || row4.name === "rdseed") random64(rm, group.size / 8);
}
var FAR_SELECTORS = [...SELECTORS, 8, 64, 65531, 4, USER_CODE32 - 3, USER_CODE64 - 1];
function codeSelector(random) {
  return random.chance(80) ? random.pick([USER_CODE32, USER_CODE64]) : random.pick(FAR_SELECTORS);
}
function farTransfers(random, state, encoding, group, rm) {
  const { row: row4, size, mode } = group;
  const bytes = size / 8;
  if (/^(callf|retf|iret)$/.test(row4.name)) state.wideOperand = true;
  if (row4.form === "Iw") {
    encoding.immediateBytes = 0;
    encoding.addImmediate(2, random.below(512));
  }
  if (/^(lar|lsl|verr|verw)$/.test(row4.name)) {
    const selector = random.pick(FAR_SELECTORS);
    if (group.place === "register" && rm !== RSP) state.view.setUint16(S_GPR + rm * 8, selector, true);
    else if (encoding.address !== 0) writeValue(state, encoding.address, BigInt(selector), 2);
  }
  if (row4.form === "Ap") {
    encoding.addImmediate(bytes, landing(random, state));
    encoding.addImmediate(2, codeSelector(random));
  }
  if (row4.form === "Mp" && encoding.address !== 0) {
    writeValue(state, encoding.address, BigInt(landing(random, state)), bytes);
    writeValue(state, encoding.address + bytes, BigInt(codeSelector(random)), 2);
  }
  if (row4.name !== "retf" && row4.name !== "iret") return;
  const top = Number(state.gpr(RSP) & 0x7fffffffn);
  const frame = [indirectTarget(random, state), BigInt(codeSelector(random))];
  if (row4.name === "iret") {
    frame.push(BigInt(2 | random.next() & (ARITHMETIC | DF | 3682816)));
    if (mode === 64) frame.push(BigInt(STACK + 1024 + random.below(1024)), BigInt(random.chance(85) ? USER_DATA : random.pick(FAR_SELECTORS)));
  }
  frame.forEach((value, at) => {
    writeValue(state, top + at * bytes, value, bytes);
  });
}
function strings(random, state, encoding, group) {
  const { row: row4, size, mode } = group;
  const bytes = size === 0 ? 1 : size / 8;
  const count = random.pick([0, 1, 2, 3, 4, 5, 7, 8, 13, 16, 24]);
  const span = bytes * Math.max(1, count);
  const down = (state.view.getUint32(S_GPR + 128, true) & DF) !== 0;
  const place = () => {
    if (random.chance(5)) return random.pick([GUARD - (down ? bytes : Math.min(span, bytes * 2)), READ_ONLY + 512, GUARD + 8, DATA + (down ? bytes : 0)]);
    return DATA + 512 + random.below(6656);
  };
  const source = place();
  let target = place();
  if (random.chance(30)) target = source + random.between(-16, 16);
  const narrow = mode === 64 && random.chance(15);
  encoding.address32 = narrow;
  const upper = narrow ? BigInt(random.next()) << 32n : 0n;
  if (group.repeat !== 0 || random.chance(20)) state.setGpr64(RCX, BigInt(count) | upper);
  state.setGpr64(RSI, BigInt(source) | upper);
  state.setGpr64(RDI, BigInt(target) | upper);
  if (mode === 64 && random.chance(1)) state.setGpr64(row4.name === "lods" ? RSI : RDI, 0x800000000000n + BigInt(random.below(64)));
  if ((row4.name === "cmps" || row4.name === "scas") && random.chance(80)) {
    const value = row4.name === "scas" ? state.gpr(RAX) : draw(random);
    const equal2 = group.repeat !== 242;
    for (let i = 0; i < Math.max(1, count); i++) {
      const step = (down ? -i : i) * bytes;
      const same = random.chance(equal2 ? 90 : 10);
      writeValue(state, target + step, same ? value : draw(random), bytes);
      if (row4.name === "cmps") writeValue(state, source + step, value, bytes);
    }
  }
  if (random.chance(4)) encoding.segment = random.pick(mode === 64 ? [38, 46, 54, 62] : [38, 54, 62]);
}

// test/vectors/undefined.ts
var COUNTED = /* @__PURE__ */ new Set(["rol", "ror", "rcl", "rcr", "shl", "shr", "sar", "shld", "shrd"]);
function undefinedFlags(row4, state, encoding, size) {
  const mask = row4.undefinedFlags ?? 0;
  if (!COUNTED.has(row4.name)) return mask;
  const width = size === 0 ? 8 : size;
  let count = row4.form.endsWith("CL") ? state.view.getUint8(S_GPR + 8) : row4.form.endsWith(",1") ? 1 : encoding.immediate.getUint8(0);
  count &= width === 64 ? 63 : 31;
  if (count === 0) return 0;
  const rotate = row4.name.startsWith("r");
  if (row4.name === "shld" || row4.name === "shrd") return count > width ? mask : count === 1 ? AF : AF | OF;
  if (rotate) return count === 1 ? 0 : OF;
  return AF | (count === 1 ? 0 : OF) | (count >= width && row4.name !== "sar" ? CF : 0);
}

// test/vectors/generate.ts
var INTERRUPT_FLAGS = 3682816;
var Generator = class {
  state = new State();
  encoding = new Encoding();
  random;
  group;
  /** @param seed empty for the stored vectors */
  constructor(group, seed = "") {
    this.group = group;
    this.random = new Random(group.key + seed);
  }
  next() {
    const { state, encoding, random, group } = this;
    const { row: row4, mode } = group;
    state.reset(mode);
    state.start = CODE + 2048 + random.below(64);
    if (random.chance(3)) state.start = CODE + 4096 - random.between(1, 6);
    for (let register = 0; register < 16; register++) {
      if (register !== RSP) integer(random, state.view, S_GPR + register * 8);
      if (mode === 32) state.view.setUint32(S_GPR + register * 8 + 4, 0, true);
      if (mode === 32 && register >= 8) state.view.setUint32(S_GPR + register * 8, 0, true);
    }
    if (random.chance(25)) state.setGpr(RSP, Number(state.gpr(RSP)) + random.between(-64, 64));
    const direction = row4.form.startsWith("str") ? random.chance(40) : random.chance(10);
    state.view.setUint32(S_RFLAGS, 514 | random.next() & ARITHMETIC | (direction ? DF : 0), true);
    encoding.clear(row4.op);
    if (row4.unit === "int" || row4.unit === "sys") this.integerOperands();
    else {
      floatState(random, state, row4);
      if (row4.unit === "x87" || row4.form === "none" || /^(ld|st)4$/.test(row4.form)) x87Operands(random, state, encoding, row4);
      else simdOperands(random, state, encoding, group);
    }
    encoding.emit(state);
    state.flagsMask = (ARITHMETIC | DF | INTERRUPT_FLAGS) & ~undefinedFlags(row4, state, encoding, group.size);
    return state;
  }
  integerOperands() {
    const { state, encoding, random, group } = this;
    const { row: row4, mode, size } = group;
    const wide = mode === 64;
    const registers = wide ? 16 : 8;
    encoding.operand16 = size === 16;
    const default64 = wide && (/64/.test(row4.form) || row4.handler === "PUSH_SEG" || row4.handler === "POP_SEG");
    if (wide && (size === 64 && (!default64 || random.chance(10)) || size === 0 && row4.form !== "Jb" && random.chance(10) && row4.w === void 0)) encoding.rex |= 8;
    if (wide && random.chance(30)) encoding.rexPresent = true;
    if (row4.pp !== void 0 && row4.pp !== 0) {
      if (row4.pp === 102) encoding.operand16 = true;
      else encoding.repeat = row4.pp;
    }
    encoding.repeat = group.repeat === 0 ? encoding.repeat : group.repeat;
    const tokens = row4.form.split(",");
    const draw2 = () => random.below(wide && (encoding.rexPresent || random.chance(60)) ? registers : 8);
    let rmRegister = -1, regRegister = -1;
    for (const token of tokens) {
      if (/^[G]/.test(token)) {
        regRegister = draw2();
        encoding.setReg(regRegister);
      }
      if (token === "Sw") {
        encoding.setReg(random.pick(row4.op === 142 ? [0, 2, 3, 4, 5, 0, 3, 4, 5, 1, 6, 7] : [0, 1, 2, 3, 4, 5, 3, 5, 6]));
        encoding.rex &= ~4;
      }
      if (token.startsWith("Z") && wide && random.chance(50) && row4.name !== "nop") encoding.rex |= 1;
    }
    if (row4.reg !== void 0) {
      encoding.reg = row4.reg;
      encoding.hasModRm = true;
      if (wide && random.chance(5)) encoding.rex |= 4;
    }
    if (group.place === "register") {
      rmRegister = row4.rm ?? draw2();
      if (regRegister >= 0 && random.chance(12)) rmRegister = regRegister;
      encoding.setRmRegister(rmRegister);
    } else if (group.place === "memory") memoryOperand(random, state, encoding, reachOf(group, regRegister, random));
    for (const token of tokens) {
      if (/^(I|U|J)/.test(token) && token !== "Iu") this.immediate(token);
      if (token.startsWith("O")) this.absolute(size === 0 ? 1 : size / 8);
    }
    if (row4.name === "nop" && row4.op === 144) {
      encoding.rex &= ~1;
      if (random.chance(30)) encoding.repeat = 243;
    }
    prepareInteger(random, state, encoding, group, rmRegister, regRegister);
    if (encoding.hasModRm && !encoding.lock && random.chance(1) && group.place === "memory" && encoding.address !== 0) {
      encoding.lock = !/^(bt|cmpxchg|xadd|xchg|add|or|adc|sbb|and|sub|xor|not|neg|inc|dec|verw)/.test(row4.name);
    }
    if (encoding.operand16 && (encoding.rex & 8) !== 0) encoding.operand16 = size === 16 ? (encoding.rex &= ~8, true) : random.chance(50);
  }
  immediate(token) {
    const { encoding, random, group } = this;
    const size = token.slice(1);
    if (token.startsWith("J")) return;
    const value = new DataView(new ArrayBuffer(8));
    integer(random, value, 0);
    const bytes = size.startsWith("b") ? 1 : size.startsWith("w") ? 2 : size === "v" && group.size === 64 ? 8 : group.size === 16 ? 2 : 4;
    encoding.addImmediate(bytes, value.getInt32(0, true), value.getInt32(4, true));
  }
  absolute(bytes) {
    const { state, encoding, random, group } = this;
    const scratch3 = new Encoding();
    scratch3.clear(0);
    const kept = state.bytes.slice(S_GPR, S_XMM);
    memoryOperand(random, state, scratch3, { bytes });
    state.bytes.set(kept, S_GPR);
    const address = scratch3.address === 0 ? 1610680320 : scratch3.address;
    encoding.address = address;
    encoding.address32 = group.mode === 64 && random.chance(10);
    encoding.addImmediate(group.mode === 64 && !encoding.address32 ? 8 : 4, address, 0);
  }
};

// hypervisor/tcg/isa/rows-int.ts
var CF2 = 1;
var PF2 = 4;
var AF2 = 16;
var ZF2 = 64;
var SF2 = 128;
var OF2 = 2048;
var rows = [];
function int(op, name, form, extra = {}, handler = name.toUpperCase()) {
  rows.push({ name, op, form, handler, unit: "int", ...extra });
}
function sys(op, name, form, extra = {}, handler = name.toUpperCase()) {
  rows.push({ name, op, form, handler, unit: "sys", user: false, ...extra });
}
var ALU = ["add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"];
ALU.forEach((name, index) => {
  const undefinedFlags2 = name === "and" || name === "or" || name === "xor" ? AF2 : 0;
  const base = index * 8;
  int(base, name, "Eb,Gb", { undefinedFlags: undefinedFlags2 });
  int(base + 1, name, "Ev,Gv", { undefinedFlags: undefinedFlags2 });
  int(base + 2, name, "Gb,Eb", { undefinedFlags: undefinedFlags2 });
  int(base + 3, name, "Gv,Ev", { undefinedFlags: undefinedFlags2 });
  int(base + 4, name, "Ab,Ib", { undefinedFlags: undefinedFlags2 });
  int(base + 5, name, "Av,Iz", { undefinedFlags: undefinedFlags2 });
  int(128, name, "Eb,Ib", { reg: index, undefinedFlags: undefinedFlags2 });
  int(129, name, "Ev,Iz", { reg: index, undefinedFlags: undefinedFlags2 });
  int(130, name, "Eb,Ib", { reg: index, undefinedFlags: undefinedFlags2, mode: "!64" });
  int(131, name, "Ev,Ib", { reg: index, undefinedFlags: undefinedFlags2 });
});
var PUSH_SEGMENTS = [[6, 0], [14, 1], [22, 2], [30, 3], [4e3, 4], [4008, 5]];
for (const [op, segment] of PUSH_SEGMENTS) int(op, "push", `S${segment}`, { ...op < 256 ? { mode: "!64" } : {}, user: false }, "PUSH_SEG");
var POP_SEGMENTS = [[7, 0], [23, 2], [31, 3], [4001, 4], [4009, 5]];
for (const [op, segment] of POP_SEGMENTS) int(op, "pop", `S${segment}`, { ...op < 256 ? { mode: "!64" } : {}, user: false }, "POP_SEG");
int(39, "daa", "none", { mode: "!64", undefinedFlags: OF2 });
int(47, "das", "none", { mode: "!64", undefinedFlags: OF2 });
int(55, "aaa", "none", { mode: "!64", undefinedFlags: OF2 | SF2 | ZF2 | PF2 });
int(63, "aas", "none", { mode: "!64", undefinedFlags: OF2 | SF2 | ZF2 | PF2 });
for (let r = 0; r < 8; r++) {
  int(64 + r, "inc", "Zv", { mode: "!64" });
  int(72 + r, "dec", "Zv", { mode: "!64" });
  int(80 + r, "push", "Z64");
  int(88 + r, "pop", "Z64");
}
int(96, "pusha", "none", { mode: "!64" });
int(97, "popa", "none", { mode: "!64" });
int(98, "bound", "Gv,M", { mode: "!64", mod: "m" });
int(99, "arpl", "Ew,Gw", { mode: "!64" });
int(99, "movsxd", "Gv,Ed", { mode: "64" });
int(104, "push", "Iz64");
int(106, "push", "Ib64");
int(105, "imul", "Gv,Ev,Iz", { undefinedFlags: SF2 | ZF2 | AF2 | PF2 }, "IMUL3");
int(107, "imul", "Gv,Ev,Ib", { undefinedFlags: SF2 | ZF2 | AF2 | PF2 }, "IMUL3");
sys(108, "ins", "strb");
sys(109, "ins", "strv");
sys(110, "outs", "strb");
sys(111, "outs", "strv");
for (let cc = 0; cc < 16; cc++) {
  int(112 + cc, "jcc", "Jb");
  int(3968 + cc, "jcc", "Jz");
  int(3984 + cc, "setcc", "Eb");
  int(3904 + cc, "cmovcc", "Gv,Ev");
}
int(132, "test", "Eb,Gb", { undefinedFlags: AF2 });
int(133, "test", "Ev,Gv", { undefinedFlags: AF2 });
int(134, "xchg", "Eb,Gb");
int(135, "xchg", "Ev,Gv");
int(136, "mov", "Eb,Gb");
int(137, "mov", "Ev,Gv");
int(138, "mov", "Gb,Eb");
int(139, "mov", "Gv,Ev");
int(140, "mov", "Ev,Sw", { user: false }, "MOV_FROM_SEG");
int(142, "mov", "Sw,Ew", { user: false }, "MOV_TO_SEG");
int(141, "lea", "Gv,M", { mod: "m" });
int(143, "pop", "E64", { reg: 0 });
int(144, "nop", "none", {}, "NOP");
for (let r = 0; r < 8; r++) int(144 + r, "xchg", "Zv,Av");
int(152, "cbw", "none");
int(153, "cwd", "none");
sys(154, "callf", "Ap", { mode: "!64" });
int(156, "pushf", "none64", { user: false });
int(157, "popf", "none64", { user: false });
int(158, "sahf", "none");
int(159, "lahf", "none");
int(160, "mov", "Ab,Ob");
int(161, "mov", "Av,Ov");
int(162, "mov", "Ob,Ab");
int(163, "mov", "Ov,Av");
int(164, "movs", "strb");
int(165, "movs", "strv");
int(166, "cmps", "strb");
int(167, "cmps", "strv");
int(168, "test", "Ab,Ib", { undefinedFlags: AF2 });
int(169, "test", "Av,Iz", { undefinedFlags: AF2 });
int(170, "stos", "strb");
int(171, "stos", "strv");
int(172, "lods", "strb");
int(173, "lods", "strv");
int(174, "scas", "strb");
int(175, "scas", "strv");
for (let r = 0; r < 8; r++) {
  int(176 + r, "mov", "Zb,Ib");
  int(184 + r, "mov", "Zv,Iv");
}
var SHIFTS = ["rol", "ror", "rcl", "rcr", "shl", "shr", "shl", "sar"];
SHIFTS.forEach((name, reg) => {
  const one = reg >= 4 ? AF2 : 0;
  const many = one | OF2;
  int(192, name, "Eb,Ub", { reg, undefinedFlags: many | (reg >= 4 ? CF2 : 0) });
  int(193, name, "Ev,Ub", { reg, undefinedFlags: many | (reg >= 4 ? CF2 : 0) });
  int(208, name, "Eb,1", { reg, undefinedFlags: one });
  int(209, name, "Ev,1", { reg, undefinedFlags: one });
  int(210, name, "Eb,CL", { reg, undefinedFlags: many | (reg >= 4 ? CF2 : 0) });
  int(211, name, "Ev,CL", { reg, undefinedFlags: many | (reg >= 4 ? CF2 : 0) });
});
int(194, "ret", "Iw64");
int(195, "ret", "none64");
int(196, "les", "Gv,Mp", { mode: "!64", mod: "m", user: false }, "LSEG0");
int(197, "lds", "Gv,Mp", { mode: "!64", mod: "m", user: false }, "LSEG3");
int(198, "mov", "Eb,Ib", { reg: 0 });
int(199, "mov", "Ev,Iz", { reg: 0 });
int(200, "enter", "Iw64,Ib");
int(201, "leave", "none64");
sys(202, "retf", "Iw");
sys(203, "retf", "none");
sys(204, "int3", "none");
sys(205, "int", "Ib");
sys(206, "into", "none", { mode: "!64" });
sys(207, "iret", "none");
int(212, "aam", "Ib", { mode: "!64", undefinedFlags: OF2 | AF2 | CF2 });
int(213, "aad", "Ib", { mode: "!64", undefinedFlags: OF2 | AF2 | CF2 });
int(214, "salc", "none", { mode: "!64" });
int(215, "xlat", "none");
int(224, "loopne", "Jb");
int(225, "loope", "Jb");
int(226, "loop", "Jb");
int(227, "jcxz", "Jb");
sys(228, "in", "Ab,Ub");
sys(229, "in", "Av,Ub");
sys(230, "out", "Ub,Ab");
sys(231, "out", "Ub,Av");
sys(236, "in", "Ab,DX");
sys(237, "in", "Av,DX");
sys(238, "out", "DX,Ab");
sys(239, "out", "DX,Av");
int(232, "call", "Jz");
int(233, "jmp", "Jz");
int(235, "jmp", "Jb");
sys(234, "jmpf", "Ap", { mode: "!64" });
sys(241, "icebp", "none");
sys(244, "hlt", "none");
int(245, "cmc", "none");
int(248, "clc", "none");
int(249, "stc", "none");
sys(250, "cli", "none");
sys(251, "sti", "none");
int(252, "cld", "none");
int(253, "std", "none");
for (const [op, size, imm] of [[246, "b", "Ib"], [247, "v", "Iz"]]) {
  int(op, "test", `E${size},${imm}`, { reg: 0, undefinedFlags: AF2 });
  int(op, "test", `E${size},${imm}`, { reg: 1, undefinedFlags: AF2 });
  int(op, "not", `E${size}`, { reg: 2 });
  int(op, "neg", `E${size}`, { reg: 3 });
  int(op, "mul", `E${size}`, { reg: 4, undefinedFlags: SF2 | ZF2 | AF2 | PF2 });
  int(op, "imul", `E${size}`, { reg: 5, undefinedFlags: SF2 | ZF2 | AF2 | PF2 }, "IMUL1");
  const all = CF2 | PF2 | AF2 | ZF2 | SF2 | OF2;
  int(op, "div", `E${size}`, { reg: 6, undefinedFlags: all });
  int(op, "idiv", `E${size}`, { reg: 7, undefinedFlags: all });
}
int(254, "inc", "Eb", { reg: 0 });
int(254, "dec", "Eb", { reg: 1 });
int(255, "inc", "Ev", { reg: 0 });
int(255, "dec", "Ev", { reg: 1 });
int(255, "call", "E64", { reg: 2 }, "CALL_IND");
int(255, "jmp", "E64", { reg: 4 }, "JMP_IND");
int(255, "push", "E64", { reg: 6 });
sys(255, "callf", "Mp", { reg: 3, mod: "m" }, "CALLF_IND");
sys(255, "jmpf", "Mp", { reg: 5, mod: "m" }, "JMPF_IND");
int(3851, "ud2", "none", { user: false });
int(4025, "ud1", "Gv,Ev", { user: false }, "UD2");
int(4095, "ud0", "Gv,Ev", { user: false }, "UD2");
int(3853, "prefetchw", "Ev", {}, "NOP");
int(3864, "prefetch", "Ev", {}, "NOP");
for (let op = 3865; op <= 3871; op++) int(op, "nop", "Ev", {}, "NOP");
int(4015, "imul", "Gv,Ev", { undefinedFlags: SF2 | ZF2 | AF2 | PF2 }, "IMUL2");
int(4022, "movzx", "Gv,Eb", {}, "MOVZX8");
int(4023, "movzx", "Gv,Ew", {}, "MOVZX16");
int(4030, "movsx", "Gv,Eb", {}, "MOVSX8");
int(4031, "movsx", "Gv,Ew", {}, "MOVSX16");
var BT = ["bt", "bts", "btr", "btc"];
BT.forEach((name, index) => {
  const undefinedFlags2 = OF2 | SF2 | AF2 | PF2;
  int(4003 + index * 8, name, "Ev,Gv", { undefinedFlags: undefinedFlags2 });
  int(4026, name, "Ev,Ub", { reg: 4 + index, undefinedFlags: undefinedFlags2 });
});
int(4004, "shld", "Ev,Gv,Ub", { undefinedFlags: AF2 | OF2 | CF2 });
int(4005, "shld", "Ev,Gv,CL", { undefinedFlags: AF2 | OF2 | CF2 });
int(4012, "shrd", "Ev,Gv,Ub", { undefinedFlags: AF2 | OF2 | CF2 });
int(4013, "shrd", "Ev,Gv,CL", { undefinedFlags: AF2 | OF2 | CF2 });
int(4016, "cmpxchg", "Eb,Gb");
int(4017, "cmpxchg", "Ev,Gv");
int(4032, "xadd", "Eb,Gb");
int(4033, "xadd", "Ev,Gv");
int(4039, "cmpxchg8b", "M", { reg: 1, mod: "m" });
int(4035, "movnti", "My,Gy", { mod: "m", pp: 0 }, "MOV");
int(4028, "bsf", "Gv,Ev", { undefinedFlags: CF2 | OF2 | SF2 | AF2 | PF2 });
int(4029, "bsr", "Gv,Ev", { undefinedFlags: CF2 | OF2 | SF2 | AF2 | PF2 });
int(4024, "popcnt", "Gv,Ev", { pp: 243 });
for (let r = 0; r < 8; r++) int(4040 + r, "bswap", "Zv");
int(997616, "crc32", "Gv,Eb", { pp: 242 }, "CRC32B");
int(997617, "crc32", "Gv,Ev", { pp: 242 }, "CRC32");
int(4014, "lfence", "none", { reg: 5, mod: "r", pp: 0 }, "NOP");
int(4014, "mfence", "none", { reg: 6, mod: "r", pp: 0 }, "NOP");
int(4014, "sfence", "none", { reg: 7, mod: "r", pp: 0 }, "NOP");
int(4014, "clflush", "M", { reg: 7, mod: "m", pp: 0 });
int(4014, "rdfsbase", "Ry", { reg: 0, mod: "r", pp: 243, mode: "64", user: false });
int(4014, "rdgsbase", "Ry", { reg: 1, mod: "r", pp: 243, mode: "64", user: false });
int(4014, "wrfsbase", "Ry", { reg: 2, mod: "r", pp: 243, mode: "64", user: false });
int(4014, "wrgsbase", "Ry", { reg: 3, mod: "r", pp: 243, mode: "64", user: false });
int(4039, "rdrand", "Rv", { reg: 6, mod: "r", tolerance: "random" });
int(4039, "rdseed", "Rv", { reg: 7, mod: "r", tolerance: "random" }, "RDRAND");
int(4002, "cpuid", "none", { tolerance: "random" });
int(3889, "rdtsc", "none", { tolerance: "random" });
int(3841, "rdtscp", "none", { reg: 7, mod: "r", rm: 1, tolerance: "random" });
sys(3845, "syscall", "none");
sys(3847, "sysret", "none");
sys(3892, "sysenter", "none");
sys(3893, "sysexit", "none");
sys(3846, "clts", "none");
sys(3848, "invd", "none");
sys(3849, "wbinvd", "none", {}, "INVD");
sys(3888, "wrmsr", "none");
sys(3890, "rdmsr", "none");
sys(3891, "rdpmc", "none");
sys(3840, "sldt", "Ev", { reg: 0 });
sys(3840, "str", "Ev", { reg: 1 });
sys(3840, "lldt", "Ew", { reg: 2 });
sys(3840, "ltr", "Ew", { reg: 3 });
sys(3840, "verr", "Ew", { reg: 4 });
sys(3840, "verw", "Ew", { reg: 5 });
sys(3841, "sgdt", "M", { reg: 0, mod: "m" });
sys(3841, "sidt", "M", { reg: 1, mod: "m" });
sys(3841, "lgdt", "M", { reg: 2, mod: "m" });
sys(3841, "lidt", "M", { reg: 3, mod: "m" });
sys(3841, "smsw", "Ev", { reg: 4 });
sys(3841, "lmsw", "Ew", { reg: 6 });
sys(3841, "invlpg", "M", { reg: 7, mod: "m" });
sys(3841, "swapgs", "none", { reg: 7, mod: "r", rm: 0, mode: "64" });
sys(3841, "vmcall", "none", { reg: 0, mod: "r", rm: 1 });
sys(3842, "lar", "Gv,Ew");
sys(3843, "lsl", "Gv,Ew");
sys(3872, "mov", "Rq,Cq", {}, "MOV_FROM_CR");
sys(3874, "mov", "Cq,Rq", {}, "MOV_TO_CR");
sys(3873, "mov", "Rq,Dq", {}, "MOV_FROM_DR");
sys(3875, "mov", "Dq,Rq", {}, "MOV_TO_DR");
sys(4018, "lss", "Gv,Mp", { mod: "m" }, "LSEG2");
sys(4020, "lfs", "Gv,Mp", { mod: "m" }, "LSEG4");
sys(4021, "lgs", "Gv,Mp", { mod: "m" }, "LSEG5");
var INT_ROWS = rows;

// hypervisor/tcg/isa/rows-sse.ts
function row(name, op, pp, form, handler = name.toUpperCase(), more = {}) {
  const mod = /(^|,)[UN](,|$)/.test(form) ? { mod: "r" } : /(^|,)M\d/.test(form) ? { mod: "m" } : {};
  return { name, op, pp, ...mod, form, handler: `SSE_${handler}`, unit: "sse", ...more };
}
function rows2(pp, form, opcodes) {
  return Object.entries(opcodes).map(([name, op]) => row(name, op, pp, form));
}
var PACKED_INTEGER = {
  packsswb: 3939,
  pcmpgtb: 3940,
  pcmpgtw: 3941,
  pcmpgtd: 3942,
  packuswb: 3943,
  punpckhbw: 3944,
  punpckhwd: 3945,
  punpckhdq: 3946,
  packssdw: 3947,
  pcmpeqb: 3956,
  pcmpeqw: 3957,
  pcmpeqd: 3958,
  psrlw: 4049,
  psrld: 4050,
  psrlq: 4051,
  paddq: 4052,
  pmullw: 4053,
  psubusb: 4056,
  psubusw: 4057,
  pminub: 4058,
  paddusb: 4060,
  paddusw: 4061,
  pmaxub: 4062,
  pavgb: 4064,
  psraw: 4065,
  psrad: 4066,
  pavgw: 4067,
  pmulhuw: 4068,
  pmulhw: 4069,
  psubsb: 4072,
  psubsw: 4073,
  pminsw: 4074,
  paddsb: 4076,
  paddsw: 4077,
  pmaxsw: 4078,
  psllw: 4081,
  pslld: 4082,
  psllq: 4083,
  pmuludq: 4084,
  pmaddwd: 4085,
  psadbw: 4086,
  psubb: 4088,
  psubw: 4089,
  psubd: 4090,
  psubq: 4091,
  paddb: 4092,
  paddw: 4093,
  paddd: 4094,
  pshufb: 997376,
  phaddw: 997377,
  phaddd: 997378,
  phaddsw: 997379,
  pmaddubsw: 997380,
  phsubw: 997381,
  phsubd: 997382,
  phsubsw: 997383,
  psignb: 997384,
  psignw: 997385,
  psignd: 997386,
  pmulhrsw: 997387,
  pabsb: 997404,
  pabsw: 997405,
  pabsd: 997406
};
var SHIFT_IMMEDIATE = [
  ["psrlw", 3953, 2],
  ["psraw", 3953, 4],
  ["psllw", 3953, 6],
  ["psrld", 3954, 2],
  ["psrad", 3954, 4],
  ["pslld", 3954, 6],
  ["psrlq", 3955, 2],
  ["psllq", 3955, 6]
];
var MOVES = [
  row("movups", 3856, 0, "V,W16", "MOV16"),
  row("movups", 3857, 0, "W16,V", "MOV16"),
  row("movupd", 3856, 102, "V,W16", "MOV16"),
  row("movupd", 3857, 102, "W16,V", "MOV16"),
  row("movss", 3856, 243, "V,U", "MOV4"),
  row("movss", 3856, 243, "V,M4", "LOAD4"),
  row("movss", 3857, 243, "W4,V", "MOV4"),
  row("movsd", 3856, 242, "V,U", "MOV8"),
  row("movsd", 3856, 242, "V,M8", "LOAD8"),
  row("movsd", 3857, 242, "W8,V", "MOV8"),
  row("movhlps", 3858, 0, "V,U", "MOVHLPS"),
  row("movlps", 3858, 0, "V,M8", "MOV8"),
  row("movlpd", 3858, 102, "V,M8", "MOV8"),
  row("movlps", 3859, 0, "M8,V", "MOV8"),
  row("movlpd", 3859, 102, "M8,V", "MOV8"),
  row("movlhps", 3862, 0, "V,U", "MOVLHPS"),
  row("movhps", 3862, 0, "V,M8", "MOVLHPS"),
  row("movhpd", 3862, 102, "V,M8", "MOVLHPS"),
  row("movhps", 3863, 0, "M8,V", "MOVHLPS"),
  row("movhpd", 3863, 102, "M8,V", "MOVHLPS"),
  row("movddup", 3858, 242, "V,W8"),
  row("movsldup", 3858, 243, "V,W16a"),
  row("movshdup", 3862, 243, "V,W16a"),
  row("movaps", 3880, 0, "V,W16a", "MOV16"),
  row("movaps", 3881, 0, "W16a,V", "MOV16"),
  row("movapd", 3880, 102, "V,W16a", "MOV16"),
  row("movapd", 3881, 102, "W16a,V", "MOV16"),
  row("movntps", 3883, 0, "M16a,V", "MOV16"),
  row("movntpd", 3883, 102, "M16a,V", "MOV16"),
  row("movntdq", 4071, 102, "M16a,V", "MOV16"),
  row("movntdqa", 997418, 102, "V,M16a", "MOV16"),
  row("lddqu", 4080, 242, "V,M16", "MOV16"),
  row("movdqa", 3951, 102, "V,W16a", "MOV16"),
  row("movdqa", 3967, 102, "W16a,V", "MOV16"),
  row("movdqu", 3951, 243, "V,W16", "MOV16"),
  row("movdqu", 3967, 243, "W16,V", "MOV16"),
  row("movd", 3950, 102, "V,E4", "LOAD4", { w: 0 }),
  row("movq", 3950, 102, "V,E8", "LOAD8", { w: 1 }),
  row("movd", 3966, 102, "E4,V", "STORE4", { w: 0 }),
  row("movq", 3966, 102, "E8,V", "MOV8", { w: 1 }),
  row("movq", 3966, 243, "V,W8", "LOAD8"),
  row("movq", 4054, 102, "W8,V", "LOAD8"),
  row("movq2dq", 4054, 243, "V,N", "LOAD8"),
  row("movdq2q", 4054, 242, "P,U", "MOV8"),
  row("movmskps", 3920, 0, "G,U"),
  row("movmskpd", 3920, 102, "G,U"),
  row("pmovmskb", 4055, 102, "G,U"),
  row("maskmovdqu", 4087, 102, "maskmov", "MASKMOVDQU", { mod: "r" })
];
var LOGIC = [
  row("andps", 3924, 0, "V,W16a", "AND"),
  row("andpd", 3924, 102, "V,W16a", "AND"),
  row("pand", 4059, 102, "V,W16a", "AND"),
  row("andnps", 3925, 0, "V,W16a", "ANDN"),
  row("andnpd", 3925, 102, "V,W16a", "ANDN"),
  row("pandn", 4063, 102, "V,W16a", "ANDN"),
  row("orps", 3926, 0, "V,W16a", "OR"),
  row("orpd", 3926, 102, "V,W16a", "OR"),
  row("por", 4075, 102, "V,W16a", "OR"),
  row("xorps", 3927, 0, "V,W16a", "XOR"),
  row("xorpd", 3927, 102, "V,W16a", "XOR"),
  row("pxor", 4079, 102, "V,W16a", "XOR"),
  row("ptest", 997399, 102, "V,W16a")
];
var INTEGER = [
  ...rows2(102, "V,W16a", PACKED_INTEGER),
  ...rows2(102, "V,W16a", {
    punpcklbw: 3936,
    punpcklwd: 3937,
    punpckldq: 3938,
    punpcklqdq: 3948,
    punpckhqdq: 3949,
    pmuldq: 997416,
    pcmpeqq: 997417,
    packusdw: 997419,
    pcmpgtq: 997431,
    pminsb: 997432,
    pminsd: 997433,
    pminuw: 997434,
    pminud: 997435,
    pmaxsb: 997436,
    pmaxsd: 997437,
    pmaxuw: 997438,
    pmaxud: 997439,
    pmulld: 997440,
    phminposuw: 997441,
    pblendvb: 997392,
    blendvps: 997396,
    blendvpd: 997397
  }),
  row("unpcklps", 3860, 0, "V,W16a", "PUNPCKLDQ"),
  row("unpcklpd", 3860, 102, "V,W16a", "PUNPCKLQDQ"),
  row("unpckhps", 3861, 0, "V,W16a", "PUNPCKHDQ"),
  row("unpckhpd", 3861, 102, "V,W16a", "PUNPCKHQDQ"),
  ...SHIFT_IMMEDIATE.map(([name, op, reg]) => row(name, op, 102, "U,Ib", `${name.toUpperCase()}_I`, { reg })),
  row("psrldq", 3955, 102, "U,Ib", "PSRLDQ", { reg: 3 }),
  row("pslldq", 3955, 102, "U,Ib", "PSLLDQ", { reg: 7 }),
  ...rows2(102, "V,W8", { pmovsxbw: 997408, pmovsxwd: 997411, pmovsxdq: 997413, pmovzxbw: 997424, pmovzxwd: 997427, pmovzxdq: 997429 }),
  ...rows2(102, "V,W4", { pmovsxbd: 997409, pmovsxwq: 997412, pmovzxbd: 997425, pmovzxwq: 997428 }),
  ...rows2(102, "V,W2", { pmovsxbq: 997410, pmovzxbq: 997426 }),
  ...rows2(102, "V,W16a,Ib", {
    pshufd: 3952,
    shufpd: 4038,
    blendps: 997900,
    blendpd: 997901,
    pblendw: 997902,
    palignr: 997903,
    mpsadbw: 997954
  }),
  row("pshufhw", 3952, 243, "V,W16a,Ib"),
  row("pshuflw", 3952, 242, "V,W16a,Ib"),
  row("shufps", 4038, 0, "V,W16a,Ib"),
  row("pinsrw", 4036, 102, "V,E2,Ib"),
  row("pextrw", 4037, 102, "G,U,Ib"),
  row("pextrb", 997908, 102, "E1,V,Ib"),
  row("pextrw", 997909, 102, "E2,V,Ib"),
  row("extractps", 997911, 102, "E4,V,Ib", "PEXTRD"),
  row("pextrd", 997910, 102, "E4,V,Ib", "PEXTRD", { w: 0 }),
  row("pextrq", 997910, 102, "E8,V,Ib", "PEXTRQ", { w: 1 }),
  row("pinsrb", 997920, 102, "V,E1,Ib"),
  row("insertps", 997921, 102, "V,U,Ib", "INSERTPS_R"),
  row("insertps", 997921, 102, "V,M4,Ib", "INSERTPS_M"),
  row("pinsrd", 997922, 102, "V,E4,Ib", "PINSRD", { w: 0 }),
  row("pinsrq", 997922, 102, "V,E8,Ib", "PINSRQ", { w: 1 }),
  // The string instructions are the ones whose 16-byte memory operand may lie anywhere.
  row("pcmpestrm", 997984, 102, "V,W16,Ib", "PCMPESTRM", { w: 0 }),
  row("pcmpestrm", 997984, 102, "V,W16,Ib", "PCMPESTRM_W", { w: 1 }),
  row("pcmpestri", 997985, 102, "V,W16,Ib", "PCMPESTRI", { w: 0 }),
  row("pcmpestri", 997985, 102, "V,W16,Ib", "PCMPESTRI_W", { w: 1 }),
  row("pcmpistrm", 997986, 102, "V,W16,Ib"),
  row("pcmpistri", 997987, 102, "V,W16,Ib")
];
function fourWays(stem, op, immediate = "") {
  return [
    row(`${stem}ps`, op, 0, `V,W16a${immediate}`),
    row(`${stem}pd`, op, 102, `V,W16a${immediate}`),
    row(`${stem}ss`, op, 243, `V,W4${immediate}`),
    row(`${stem}sd`, op, 242, `V,W8${immediate}`)
  ];
}
var APPROXIMATE = { tolerance: 6144 };
var ARITHMETIC2 = [
  ...fourWays("sqrt", 3921),
  ...fourWays("add", 3928),
  ...fourWays("mul", 3929),
  ...fourWays("sub", 3932),
  ...fourWays("min", 3933),
  ...fourWays("div", 3934),
  ...fourWays("max", 3935),
  ...fourWays("cmp", 4034, ",Ib"),
  row("rsqrtps", 3922, 0, "V,W16a", "RSQRTPS", APPROXIMATE),
  row("rsqrtss", 3922, 243, "V,W4", "RSQRTSS", APPROXIMATE),
  row("rcpps", 3923, 0, "V,W16a", "RCPPS", APPROXIMATE),
  row("rcpss", 3923, 243, "V,W4", "RCPSS", APPROXIMATE),
  row("ucomiss", 3886, 0, "V,W4"),
  row("ucomisd", 3886, 102, "V,W8"),
  row("comiss", 3887, 0, "V,W4"),
  row("comisd", 3887, 102, "V,W8"),
  row("haddpd", 3964, 102, "V,W16a"),
  row("haddps", 3964, 242, "V,W16a"),
  row("hsubpd", 3965, 102, "V,W16a"),
  row("hsubps", 3965, 242, "V,W16a"),
  row("addsubpd", 4048, 102, "V,W16a"),
  row("addsubps", 4048, 242, "V,W16a"),
  row("roundps", 997896, 102, "V,W16a,Ib"),
  row("roundpd", 997897, 102, "V,W16a,Ib"),
  row("roundss", 997898, 102, "V,W4,Ib"),
  row("roundsd", 997899, 102, "V,W8,Ib"),
  row("dpps", 997952, 102, "V,W16a,Ib"),
  row("dppd", 997953, 102, "V,W16a,Ib")
];
function bothWidths(name, op, pp, narrow, wide) {
  return [row(name, op, pp, narrow, name.toUpperCase(), { w: 0 }), row(name, op, pp, wide, `${name.toUpperCase()}_W`, { w: 1 })];
}
var CONVERSIONS = [
  row("cvtpi2ps", 3882, 0, "V,Q8"),
  row("cvtpi2pd", 3882, 102, "V,Q8"),
  ...bothWidths("cvtsi2ss", 3882, 243, "V,E4", "V,E8"),
  ...bothWidths("cvtsi2sd", 3882, 242, "V,E4", "V,E8"),
  row("cvttps2pi", 3884, 0, "P,W8"),
  row("cvttpd2pi", 3884, 102, "P,W16a"),
  row("cvtps2pi", 3885, 0, "P,W8"),
  row("cvtpd2pi", 3885, 102, "P,W16a"),
  ...bothWidths("cvttss2si", 3884, 243, "G,W4", "G,W4"),
  ...bothWidths("cvttsd2si", 3884, 242, "G,W8", "G,W8"),
  ...bothWidths("cvtss2si", 3885, 243, "G,W4", "G,W4"),
  ...bothWidths("cvtsd2si", 3885, 242, "G,W8", "G,W8"),
  row("cvtps2pd", 3930, 0, "V,W8"),
  row("cvtpd2ps", 3930, 102, "V,W16a"),
  row("cvtss2sd", 3930, 243, "V,W4"),
  row("cvtsd2ss", 3930, 242, "V,W8"),
  row("cvtdq2ps", 3931, 0, "V,W16a"),
  row("cvtps2dq", 3931, 102, "V,W16a"),
  row("cvttps2dq", 3931, 243, "V,W16a"),
  row("cvttpd2dq", 4070, 102, "V,W16a"),
  row("cvtpd2dq", 4070, 242, "V,W16a"),
  row("cvtdq2pd", 4070, 243, "V,W8")
];
var SSE_ROWS = [...MOVES, ...LOGIC, ...INTEGER, ...ARITHMETIC2, ...CONVERSIONS];

// hypervisor/tcg/isa/rows-mmx.ts
function row2(name, op, form, handler = name.toUpperCase(), more = {}) {
  const mod = /(^|,)N(,|$)/.test(form) ? { mod: "r" } : /(^|,)M\d/.test(form) ? { mod: "m" } : {};
  return { name, op, pp: 0, ...mod, form, handler: `MMX_${handler}`, unit: "mmx", ...more };
}
var MMX_ROWS = [
  row2("movd", 3950, "P,E4", "LOAD4", { w: 0 }),
  row2("movq", 3950, "P,E8", "MOVQ", { w: 1 }),
  row2("movd", 3966, "E4,P", "STORE4", { w: 0 }),
  row2("movq", 3966, "E8,P", "MOVQ", { w: 1 }),
  row2("movq", 3951, "P,Q8"),
  row2("movq", 3967, "Q8,P"),
  row2("movntq", 4071, "M8,P", "MOVQ"),
  row2("pmovmskb", 4055, "G,N"),
  row2("maskmovq", 4087, "maskmov", "MASKMOVQ", { mod: "r" }),
  row2("pand", 4059, "P,Q8"),
  row2("pandn", 4063, "P,Q8"),
  row2("por", 4075, "P,Q8"),
  row2("pxor", 4079, "P,Q8"),
  // The low unpacks read only the half that they use.
  row2("punpcklbw", 3936, "P,Q4"),
  row2("punpcklwd", 3937, "P,Q4"),
  row2("punpckldq", 3938, "P,Q4"),
  ...Object.entries(PACKED_INTEGER).map(([name, op]) => row2(name, op, "P,Q8")),
  ...SHIFT_IMMEDIATE.map(([name, op, reg]) => row2(name, op, "N,Ib", `${name.toUpperCase()}_I`, { reg })),
  row2("pshufw", 3952, "P,Q8,Ib"),
  row2("palignr", 997903, "P,Q8,Ib"),
  row2("pinsrw", 4036, "P,E2,Ib"),
  row2("pextrw", 4037, "G,N,Ib")
];

// hypervisor/tcg/isa/rows-x87.ts
var ARITHMETIC3 = ["fadd", "fmul", "fcom", "fcomp", "fsub", "fsubr", "fdiv", "fdivr"];
function row3(name, op, form, handler, extra) {
  return { name, op, form, handler: `X87_${handler}`, unit: "x87", ...extra };
}
function memory(op, reg, name, form, handler, extra = {}) {
  return row3(name, op, form, handler, { mod: "m", reg, ...extra });
}
function stack2(op, reg, name, handler) {
  return row3(name, op, "sti", handler, { mod: "r", reg });
}
function fixed(op, modrm, name, handler = name.toUpperCase(), form = "none", extra = {}) {
  return row3(name, op, form, handler, { mod: "r", reg: modrm >> 3 & 7, rm: modrm & 7, ...extra });
}
var TRANSCENDENTAL = { tolerance: 1 };
function arithmeticRows() {
  const rows3 = [];
  ARITHMETIC3.forEach((name, reg) => {
    const upper = name.toUpperCase();
    const integer2 = `fi${name.slice(1)}`;
    rows3.push(memory(216, reg, name, "ld4", `${upper}_M4`), memory(220, reg, name, "ld8", `${upper}_M8`));
    rows3.push(memory(218, reg, integer2, "ld4", `${upper}_I4`), memory(222, reg, integer2, "ld2", `${upper}_I2`));
    rows3.push(stack2(216, reg, name, `${upper}_ST`));
    if (reg === 2 || reg === 3) rows3.push(stack2(220, reg, name, `${upper}_ST`));
  });
  const toStack = ["fadd", "fmul", "", "", "fsubr", "fsub", "fdivr", "fdiv"];
  toStack.forEach((name, reg) => {
    if (name === "") return;
    rows3.push(stack2(220, reg, name, `${name.toUpperCase()}_STI`), stack2(222, reg, `${name}p`, `${name.toUpperCase()}_STIP`));
  });
  rows3.push(stack2(222, 2, "fcomp", "FCOMP_ST"), fixed(222, 217, "fcompp"));
  return rows3;
}
var LOAD_STORE = [
  memory(217, 0, "fld", "ld4", "FLD_M4"),
  memory(221, 0, "fld", "ld8", "FLD_M8"),
  memory(219, 5, "fld", "ld10", "FLD_M10"),
  stack2(217, 0, "fld", "FLD_STI"),
  memory(223, 0, "fild", "ld2", "FILD_I2"),
  memory(219, 0, "fild", "ld4", "FILD_I4"),
  memory(223, 5, "fild", "ld8", "FILD_I8"),
  memory(223, 4, "fbld", "ld10", "FBLD"),
  memory(217, 2, "fst", "st4", "FST_M4"),
  memory(217, 3, "fstp", "st4", "FSTP_M4"),
  memory(221, 2, "fst", "st8", "FST_M8"),
  memory(221, 3, "fstp", "st8", "FSTP_M8"),
  memory(219, 7, "fstp", "st10", "FSTP_M10"),
  stack2(221, 2, "fst", "FST_STI"),
  stack2(221, 3, "fstp", "FSTP_STI"),
  stack2(217, 3, "fstpnce", "FSTPNCE"),
  stack2(223, 2, "fstp", "FSTP_STI"),
  stack2(223, 3, "fstp", "FSTP_STI"),
  memory(223, 2, "fist", "st2", "FIST_I2"),
  memory(223, 3, "fistp", "st2", "FISTP_I2"),
  memory(219, 2, "fist", "st4", "FIST_I4"),
  memory(219, 3, "fistp", "st4", "FISTP_I4"),
  memory(223, 7, "fistp", "st8", "FISTP_I8"),
  memory(223, 1, "fisttp", "st2", "FISTTP_I2"),
  memory(219, 1, "fisttp", "st4", "FISTTP_I4"),
  memory(221, 1, "fisttp", "st8", "FISTTP_I8"),
  memory(223, 6, "fbstp", "st10", "FBSTP")
];
var COMPARE = [
  stack2(221, 4, "fucom", "FUCOM"),
  stack2(221, 5, "fucomp", "FUCOMP"),
  fixed(218, 233, "fucompp"),
  stack2(219, 6, "fcomi", "FCOMI"),
  stack2(223, 6, "fcomip", "FCOMIP"),
  stack2(219, 5, "fucomi", "FUCOMI"),
  stack2(223, 5, "fucomip", "FUCOMIP"),
  fixed(217, 228, "ftst"),
  fixed(217, 229, "fxam")
];
var REGISTER = [
  stack2(217, 1, "fxch", "FXCH"),
  stack2(221, 1, "fxch", "FXCH"),
  stack2(223, 1, "fxch", "FXCH"),
  stack2(221, 0, "ffree", "FFREE"),
  stack2(223, 0, "ffreep", "FFREEP"),
  fixed(217, 247, "fincstp"),
  fixed(217, 246, "fdecstp"),
  fixed(217, 208, "fnop"),
  stack2(218, 0, "fcmovb", "FCMOVB"),
  stack2(218, 1, "fcmove", "FCMOVE"),
  stack2(218, 2, "fcmovbe", "FCMOVBE"),
  stack2(218, 3, "fcmovu", "FCMOVU"),
  stack2(219, 0, "fcmovnb", "FCMOVNB"),
  stack2(219, 1, "fcmovne", "FCMOVNE"),
  stack2(219, 2, "fcmovnbe", "FCMOVNBE"),
  stack2(219, 3, "fcmovnu", "FCMOVNU")
];
var TOP = [
  fixed(217, 232, "fld1"),
  fixed(217, 233, "fldl2t"),
  fixed(217, 234, "fldl2e"),
  fixed(217, 235, "fldpi"),
  fixed(217, 236, "fldlg2"),
  fixed(217, 237, "fldln2"),
  fixed(217, 238, "fldz"),
  fixed(217, 224, "fchs"),
  fixed(217, 225, "fabs"),
  fixed(217, 250, "fsqrt"),
  fixed(217, 253, "fscale"),
  fixed(217, 244, "fxtract"),
  fixed(217, 248, "fprem"),
  fixed(217, 245, "fprem1"),
  fixed(217, 252, "frndint"),
  fixed(217, 240, "f2xm1", "F2XM1", "none", TRANSCENDENTAL),
  fixed(217, 241, "fyl2x", "FYL2X", "none", TRANSCENDENTAL),
  fixed(217, 249, "fyl2xp1", "FYL2XP1", "none", TRANSCENDENTAL),
  fixed(217, 242, "fptan", "FPTAN", "none", TRANSCENDENTAL),
  fixed(217, 243, "fpatan", "FPATAN", "none", TRANSCENDENTAL),
  fixed(217, 254, "fsin", "FSIN", "none", TRANSCENDENTAL),
  fixed(217, 255, "fcos", "FCOS", "none", TRANSCENDENTAL),
  fixed(217, 251, "fsincos", "FSINCOS", "none", TRANSCENDENTAL)
];
var CONTROL = [
  memory(217, 4, "fldenv", "ldenv", "FLDENV"),
  memory(217, 6, "fnstenv", "stenv", "FNSTENV"),
  memory(221, 4, "frstor", "ldsave", "FRSTOR"),
  memory(221, 6, "fnsave", "stsave", "FNSAVE"),
  memory(217, 5, "fldcw", "ld2", "FLDCW"),
  memory(217, 7, "fnstcw", "st2", "FNSTCW"),
  memory(221, 7, "fnstsw", "st2", "FNSTSW"),
  fixed(223, 224, "fnstsw", "FNSTSW_AX", "ax"),
  fixed(219, 227, "fninit"),
  fixed(219, 226, "fnclex"),
  // 8087 and 80287 leftovers FNENI, FNDISI, FNSETPM: no operation, not even a look at pending exceptions.
  fixed(219, 224, "fneni", "FNNOP"),
  fixed(219, 225, "fndisi", "FNNOP"),
  fixed(219, 228, "fnsetpm", "FNNOP"),
  row3("fwait", 155, "none", "FWAIT", {}),
  memory(4014, 0, "fxsave", "st512", "FXSAVE", { pp: 0, w: 0 }),
  memory(4014, 0, "fxsave64", "st512", "FXSAVE64", { pp: 0, w: 1 }),
  memory(4014, 1, "fxrstor", "ld512", "FXRSTOR", { pp: 0, w: 0 }),
  memory(4014, 1, "fxrstor64", "ld512", "FXRSTOR64", { pp: 0, w: 1 }),
  memory(4014, 2, "ldmxcsr", "ld4", "LDMXCSR", { pp: 0, unit: "sse" }),
  memory(4014, 3, "stmxcsr", "st4", "STMXCSR", { pp: 0, unit: "sse" }),
  row3("emms", 3959, "none", "EMMS", { pp: 0, unit: "mmx" })
];
var X87_ROWS = [...arithmeticRows(), ...LOAD_STORE, ...COMPARE, ...REGISTER, ...TOP, ...CONTROL];

// hypervisor/tcg/isa/table.ts
var ROWS = [...INT_ROWS, ...X87_ROWS, ...MMX_ROWS, ...SSE_ROWS];

// test/vectors/groups.ts
var EXECUTABLE = /* @__PURE__ */ new Set([
  "pushf",
  "popf",
  "PUSH_SEG",
  "POP_SEG",
  "MOV_FROM_SEG",
  "MOV_TO_SEG",
  "LSEG0",
  "LSEG2",
  "LSEG3",
  "LSEG4",
  "LSEG5",
  "ud2",
  "ud1",
  "ud0",
  "rdfsbase",
  "rdgsbase",
  "wrfsbase",
  "wrgsbase",
  "int3",
  "into",
  "lar",
  "lsl",
  "verr",
  "verw",
  "callf",
  "jmpf",
  "retf",
  "iret"
]);
function userCanExecute(row4) {
  return row4.user !== false || EXECUTABLE.has(row4.name) || EXECUTABLE.has(row4.handler);
}
function isNearBranch(row4) {
  return ["jcc", "loop", "loope", "loopne", "jcxz", "call", "jmp", "ret"].includes(row4.name);
}
function sizesOf(row4, mode) {
  if (row4.unit !== "int" && row4.unit !== "sys") return [0];
  if (isNearBranch(row4)) return [mode];
  if (row4.name === "pusha" || row4.name === "popa") return [32, 16];
  if (/Mp$|^Ap$/.test(row4.form)) return [16, 32];
  if (row4.name === "retf" || row4.name === "iret") return mode === 64 ? [16, 32, 64] : [16, 32];
  if (row4.name === "cmpxchg8b") return mode === 64 ? [32, 64] : [32];
  if (/64/.test(row4.form) || row4.handler === "PUSH_SEG" || row4.handler === "POP_SEG") return mode === 64 ? [64, 16] : [32, 16];
  const sizes = mode === 64 ? [16, 32, 64] : [16, 32];
  if (row4.name === "cbw" || row4.name === "cwd" || /(^|,)[EGZAR]v(,|$)|^strv$|Ov|Sw/.test(row4.form)) return sizes;
  if (/(^|,)[RMG]y/.test(row4.form)) return mode === 64 ? [32, 64] : [32];
  return [0];
}
function placesOf(row4) {
  const tokens = row4.form.split(",");
  const memory2 = tokens.some((token) => /^(M\w*|(ld|st)(\d+|env|save))$/.test(token)) || row4.mod === "m";
  if (memory2 || row4.op === 3853) return ["memory"];
  if (tokens.some((token) => /^([EWQ][a-z0-9]+|E)$/.test(token))) return row4.mod === "r" ? ["register"] : ["register", "memory"];
  return row4.mod === "r" || tokens.some((token) => /^[UNR]/.test(token) && token !== "Ub") || row4.form === "sti" || row4.form === "ax" ? ["register"] : ["none"];
}
function rowKey(row4) {
  const parts = [row4.unit, row4.name, row4.op.toString(16)];
  if (row4.pp !== void 0) parts.push(`pp${row4.pp.toString(16)}`);
  if (row4.reg !== void 0) parts.push(`/${row4.reg}`);
  if (row4.rm !== void 0) parts.push(`rm${row4.rm}`);
  if (row4.w !== void 0) parts.push(`w${row4.w}`);
  if (row4.mod !== void 0) parts.push(`mod-${row4.mod}`);
  parts.push(row4.form);
  return parts.join(" ");
}
function allGroups() {
  const groups = [];
  for (const row4 of ROWS) {
    if (!userCanExecute(row4)) continue;
    for (const mode of modesOf(row4)) groups.push(...groupsOf(row4, mode));
  }
  return groups;
}
function modesOf(row4) {
  if (row4.mode === "!64") return [32];
  if (row4.mode === "64" || row4.unit !== "int" && row4.unit !== "sys") return [64];
  return [64, 32];
}
function groupsOf(row4, mode) {
  const groups = [];
  const string = row4.form.startsWith("str");
  for (const size of sizesOf(row4, mode)) {
    for (const place of placesOf(row4)) {
      for (const repeat of string ? [0, 243, 242] : [0]) {
        const key = [rowKey(row4), mode, size, place, ...string ? [repeat.toString(16)] : []].join(" ");
        groups.push({ key, row: row4, mode, size, place, repeat });
      }
    }
  }
  return groups;
}

// test/vectors/normalise.ts
function normalise(state, final) {
  const view = new DataView(final.buffer, final.byteOffset);
  const flags = view.getUint32(S_RFLAGS, true), initial = state.view.getUint32(S_RFLAGS, true);
  view.setUint32(S_RFLAGS, flags & state.flagsMask | initial & ~state.flagsMask, true);
  view.setUint32(S_RFLAGS + 4, 0, true);
  if (view.getUint32(S_TRAP, true) === 3) {
    for (let i = 0; i < state.ignored.length; i += 2) {
      const at = state.ignored[i], length = state.ignored[i + 1];
      final.set(state.bytes.subarray(at, at + length), at);
    }
  }
  for (let at = S_SELECTORS; at < S_SELECTORS + 12; at += 2) if (view.getUint16(at, true) < 4) view.setUint16(at, 0, true);
  if (state.wideOperand) view.setUint16(S_CR2, view.getUint16(S_CR2, true) & 61440, true);
  if (state.mode === 32 || view.getUint16(S_SELECTORS + 2, true) === USER_CODE32) for (let register = 0; register < 16; register++) view.setUint32(S_GPR + register * 8 + 4, 0, true);
}

// test/vectors/store.ts
import zlib from "node:zlib";
var WORDS = SNAPSHOT / 8;
function checkState(sum, registers, code, length) {
  let hash = sum;
  for (let i = 0; i < 144; i += 4) hash = Math.imul(hash ^ (registers[i] | registers[i + 1] << 8 | registers[i + 2] << 16 | registers[i + 3] << 24), 16777619);
  for (let i = 0; i < length; i++) hash = Math.imul(hash ^ code[i], 16777619);
  return hash >>> 0;
}
var Reader = class {
  groups = [];
  columns = [];
  at = [0, 0, 0, 0, 0];
  constructor(compressed) {
    const raw = zlib.brotliDecompressSync(compressed);
    let at = 4;
    for (let left = raw.readUInt32LE(0); left > 0; left--) {
      const length = raw.readUInt16LE(at);
      const key = raw.toString("utf8", at + 2, at + 2 + length);
      at += 2 + length;
      this.groups.push({ key, check: raw.readUInt32LE(at), vectors: raw.readUInt16LE(at + 4) });
      at += 6;
    }
    for (let i = 0; i < 5; i++) {
      const length = raw.readUInt32LE(at);
      this.columns.push(raw.subarray(at + 4, at + 4 + length));
      at += 4 + length;
    }
  }
  take(column) {
    return this.columns[column][this.at[column]++];
  }
  /** Turns an initial snapshot into the next vector's final one. */
  apply(snapshot) {
    let word = 0;
    for (let count = this.take(0); count > 0; count--) {
      let gap = this.take(1);
      if (gap === 255) {
        gap = this.take(1);
        gap |= this.take(1) << 8;
      }
      word += gap;
      const mask = this.take(2);
      const column = word * 8 < S_MEMORY ? 3 : 4;
      for (let i = 0; i < 8; i++) if ((mask & 1 << i) !== 0) snapshot[word * 8 + i] = this.take(column);
    }
  }
};

// test/vectors/replay.ts
var DATA_FOLDER = path.resolve("test/vectors/data");
function describe(n, state, wanted, got) {
  const code = Buffer.from(state.code.subarray(0, state.codeLength)).toString("hex");
  return `#${n} ${code}: ${differences(wanted, got).join(", ")} (wanted/got)`;
}
function replay(core2, unit, mode, examples = 1, only = "") {
  const reader = new Reader(fs2.readFileSync(path.join(DATA_FOLDER, `${unit}.bin.br`)));
  const groups = new Map(allGroups().map((group) => [group.key, group]));
  const report = { counts: /* @__PURE__ */ new Map(), stale: [], disagreements: [] };
  const wanted = new Uint8Array(SNAPSHOT), got = new Uint8Array(SNAPSHOT);
  const wantedView = new DataView(wanted.buffer);
  for (const stored of reader.groups) {
    const group = groups.get(stored.key);
    if (group === void 0) throw new Error(`${unit}.bin.br holds "${stored.key}", which the decode table no longer has: run npm run vectors`);
    const generator = new Generator(group);
    let check = 2166136261, wrong = 0;
    const shown = [];
    for (let n = 0; n < stored.vectors; n++) {
      const state = generator.next();
      check = checkState(check, state.bytes, state.code, state.codeLength);
      wanted.set(state.bytes);
      reader.apply(wanted);
      if (!stored.key.includes(only)) continue;
      core2.run(state, mode, wantedView.getUint32(S_TRAP, true), got);
      normalise(state, got);
      forgive(group.row, wanted, got);
      if (equal(wanted, got)) continue;
      wrong++;
      if (shown.length < examples) shown.push(describe(n, state, wanted, got));
    }
    if (check !== stored.check) report.stale.push(stored.key);
    report.counts.set(stored.key, stored.vectors);
    if (wrong > 0) report.disagreements.push({ group: stored.key, wrong, of: stored.vectors, examples: shown });
  }
  return report;
}

// test/seeded-faults/zz.ts
var core = new CoreExecutor(process.argv[2]);
for (const u of ["int", "int-32", "sse", "x87", "mmx"]) {
  const t = performance.now();
  const r = replay(core, u, { path: "run", specialised: true });
  console.log(u, r.disagreements.length, Math.round(performance.now() - t));
}
