/**
 * 8254 programmable interval timer and system control port 0x61 (Intel 8254 data sheet; port 0x61 from the 82371SB): three channels, modes
 * 0..5, BCD, counter latch, read-back; gate of channel 2 and its output on port 0x61 (guests calibrate the TSC with it). Counters are
 * computed from time in ticks of 1193182 Hz. A count is loaded one tick after it is written, as in the data sheet.
 * A rising edge of OUT0 is a pulse on interrupt line 0, as in KVM. Interrupts come at most every MIN_PERIOD and one missed edge is made
 * up for. Until a count is written no channel runs (firmware would have started channel 0).
 */
import { G_IRQCHIP } from './layout'
import { MIN_PERIOD, NEVER, setLine, updateDeadline } from './irqchip'

const CHANNELS: usize = G_IRQCHIP + 0x300
const CHANNEL_SIZE: usize = 0x60
const PORT61: usize = G_IRQCHIP + 0x420 // u32: the four writable bits
const DEADLINE: usize = G_IRQCHIP + 0x428 // u64 ns of the next rising edge of OUT0

const FREQUENCY: u64 = 1193182
const SECOND: u64 = 1000000000
const REFRESH_NS: u64 = 15085 // half period of the DRAM refresh toggle in port 0x61

// Fields of a channel; u32 unless said otherwise.
const CONTROL = 0 // control word bits 5..0 as written
const GATE = 4
const STATE = 8
const RELOAD = 12 // the count in effect, 1..65536 (10000 in BCD)
const NEXT = 16 // count that was written but is not in effect yet, 0 = none
const WRITE_LOW = 20 // low byte of a two-byte write, bit 8 = it is there
const READ_HIGH = 24 // the next read of a two-byte access gives the high byte
const LATCHED = 28 // latched count, bit 16 = valid
const STATUS = 32 // latched status, bit 8 = valid
const HELD = 36 // counter value while no count is loaded
const START = 40 // i64 tick at which the counter held RELOAD
const ELAPSED = 48 // i64 ticks counted when the gate stopped it
const BOUNDARY = 56 // i64 tick at which NEXT takes effect (modes 2 and 3)

const IDLE: u32 = 0 // control word written, no count yet
const COUNTING: u32 = 1
const STOPPED: u32 = 2 // gate low
const ARMED: u32 = 3 // modes 1 and 5: waits for a rising gate

// @ts-ignore: decorator
@inline function get(channel: usize, field: usize): u32 {
  return load<u32>(channel + field)
}

// @ts-ignore: decorator
@inline function set(channel: usize, field: usize, value: u32): void {
  store<u32>(channel + field, value)
}

function channelAt(index: u32): usize {
  return CHANNELS + <usize>index * CHANNEL_SIZE
}

function ticks(now: u64): i64 {
  return <i64>(now / SECOND * FREQUENCY + now % SECOND * FREQUENCY / SECOND)
}

/** First nanosecond at which `ticks` gives `tick`. */
function nanoseconds(tick: i64): u64 {
  let t = <u64>tick
  return t / FREQUENCY * SECOND + (t % FREQUENCY * SECOND + FREQUENCY - 1) / FREQUENCY
}

function modeOf(channel: usize): u32 {
  let mode = (get(channel, CONTROL) >> 1) & 7
  return mode > 5 ? mode - 4 : mode
}

function accessOf(channel: usize): u32 {
  return get(channel, CONTROL) >> 4 & 3
}

export function pitReset(): void {
  memory.fill(CHANNELS, 0, PORT61 + 0x10 - CHANNELS)
  for (let i: u32 = 0; i < 3; i++) {
    let channel = channelAt(i)
    set(channel, CONTROL, 0x36) // both bytes, mode 3
    set(channel, RELOAD, 0x10000)
    set(channel, GATE, i == 2 ? 0 : 1)
  }
  store<u64>(DEADLINE, NEVER)
}

// ---- counting -------------------------------------------------------------------------------------------------------------------

function elapsed(channel: usize, tick: i64): i64 {
  return get(channel, STATE) == COUNTING ? tick - load<i64>(channel + START) : load<i64>(channel + ELAPSED)
}

/** Ticks that OUT is high in one period of mode 3. */
function highTicks(count: u32): i64 {
  return (count + 1) >> 1
}

/** Brings a count written during modes 2 and 3 into effect once the running period, or half period, is over. */
function settle(channel: usize, tick: i64): void {
  let next = get(channel, NEXT)
  if (next == 0 || get(channel, STATE) != COUNTING || modeOf(channel) < 2 || modeOf(channel) > 3) return
  let boundary = load<i64>(channel + BOUNDARY)
  if (tick < boundary) return
  let start = boundary
  if (modeOf(channel) == 3) {
    let count: i64 = get(channel, RELOAD)
    if ((boundary - load<i64>(channel + START)) % count != 0) start = boundary - highTicks(next) // the low half begins
  }
  set(channel, RELOAD, next)
  set(channel, NEXT, 0)
  store<i64>(channel + START, start)
}

function output(channel: usize, tick: i64): u32 {
  settle(channel, tick)
  let mode = modeOf(channel)
  let state = get(channel, STATE)
  if (state == IDLE || state == ARMED) return mode == 0 ? 0 : 1
  let e = elapsed(channel, tick)
  let count: i64 = get(channel, RELOAD)
  switch (mode) {
    case 0: return e >= count ? 1 : 0
    case 1: return e < 0 || e >= count ? 1 : 0
    case 2: return state == STOPPED || e < 0 || e % count != count - 1 ? 1 : 0
    case 3: return state == STOPPED || e < 0 || e % count < highTicks(<u32>count) ? 1 : 0
    default: return e == count ? 0 : 1
  }
}

/** The counting element as software reads it. */
function counter(channel: usize, tick: i64): u32 {
  settle(channel, tick)
  let state = get(channel, STATE)
  if (state == IDLE || state == ARMED) return get(channel, HELD)
  let bcd = (get(channel, CONTROL) & 1) != 0
  let modulus: i64 = bcd ? 10000 : 0x10000
  let e = max<i64>(elapsed(channel, tick), 0)
  let count: i64 = get(channel, RELOAD)
  let mode = modeOf(channel)
  let value: i64
  if (mode == 2) {
    value = count - e % count
  } else if (mode == 3) {
    let phase = e % count
    let high = highTicks(<u32>count)
    value = (count & ~1) - 2 * (phase < high ? phase : phase - high)
  } else {
    value = count - e % modulus
  }
  value = (value + modulus) % modulus
  return bcd ? toBcd(<u32>value) : <u32>value
}

function toBcd(value: u32): u32 {
  return value % 10 | (value / 10 % 10) << 4 | (value / 100 % 10) << 8 | (value / 1000 % 10) << 12
}

function fromBcd(value: u32): u32 {
  return (value & 15) + (value >> 4 & 15) * 10 + (value >> 8 & 15) * 100 + (value >> 12 & 15) * 1000
}

/** Tick of the first rising edge of OUT after `tick`, -1 = none. */
function nextRise(channel: usize, tick: i64): i64 {
  settle(channel, tick)
  if (get(channel, STATE) != COUNTING) return -1
  let start = load<i64>(channel + START)
  let count: i64 = get(channel, RELOAD)
  let mode = modeOf(channel)
  if (mode == 2 || mode == 3) {
    if (count == 1) return -1
    let next: i64 = get(channel, NEXT)
    if (next != 0) {
      let boundary = load<i64>(channel + BOUNDARY)
      if (mode == 2 || (boundary - start) % count == 0) return boundary
      return boundary + next - highTicks(<u32>next)
    }
    return tick < start ? start + count : start + ((tick - start) / count + 1) * count
  }
  let rise = start + count + (mode >= 4 ? 1 : 0)
  return rise > tick ? rise : -1
}

function schedule(tick: i64, notBefore: u64): void {
  let rise = nextRise(channelAt(0), tick)
  store<u64>(DEADLINE, rise < 0 ? NEVER : max(nanoseconds(rise), notBefore))
  updateDeadline()
}

export function pitDeadline(): u64 {
  return load<u64>(DEADLINE)
}

/** Interrupts if OUT0 rose since the last time. The caller brings the machine-wide deadline up to date. */
export function pitExpire(now: u64): void {
  if (load<u64>(DEADLINE) > now) return
  schedule(ticks(now), now + MIN_PERIOD)
  setLine(0, true, true)
  setLine(0, false, true)
}

// ---- software access ------------------------------------------------------------------------------------------------------------

function loadCount(channel: usize, written: u32, tick: i64): void {
  let count = get(channel, CONTROL) & 1 ? fromBcd(written) : written
  if (count == 0) count = get(channel, CONTROL) & 1 ? 10000 : 0x10000
  settle(channel, tick)
  let mode = modeOf(channel)
  let state = get(channel, STATE)
  if (mode == 1 || mode == 5) { // waits for the next trigger, a running one-shot is not disturbed
    set(channel, NEXT, count)
    if (state == IDLE) set(channel, STATE, ARMED)
    return
  }
  if ((mode == 2 || mode == 3) && state == COUNTING && tick >= load<i64>(channel + START)) {
    if (get(channel, NEXT) == 0) {
      let running: i64 = get(channel, RELOAD)
      let start = load<i64>(channel + START)
      let phase = (tick - start) % running
      let end = mode == 3 && phase < highTicks(<u32>running) ? highTicks(<u32>running) : running
      store<i64>(channel + BOUNDARY, tick - phase + end)
    }
    set(channel, NEXT, count)
    return
  }
  set(channel, RELOAD, count)
  set(channel, NEXT, 0)
  set(channel, STATE, get(channel, GATE) ? COUNTING : STOPPED)
  store<i64>(channel + START, tick + 1)
  store<i64>(channel + ELAPSED, 0)
}

/** Stops the channel with its present counter value. */
function hold(channel: usize, tick: i64): void {
  set(channel, HELD, counter(channel, tick))
  set(channel, STATE, IDLE)
  set(channel, NEXT, 0)
}

function latchCount(channel: usize, tick: i64): void {
  if (!(get(channel, LATCHED) & 0x10000)) set(channel, LATCHED, 0x10000 | counter(channel, tick))
}

function latchStatus(channel: usize, tick: i64): void {
  if (get(channel, STATUS) & 0x100) return
  let state = get(channel, STATE)
  let out = output(channel, tick)
  let loaded = get(channel, NEXT) == 0 && (state == COUNTING ? tick >= load<i64>(channel + START) : state == STOPPED)
  set(channel, STATUS, 0x100 | out << 7 | (loaded ? 0 : 0x40) | get(channel, CONTROL))
}

function writeControl(value: u32, tick: i64): void {
  let select = value >> 6
  if (select == 3) {
    for (let i: u32 = 0; i < 3; i++) {
      if (!((value >> (i + 1)) & 1)) continue
      if (!(value & 0x20)) latchCount(channelAt(i), tick)
      if (!(value & 0x10)) latchStatus(channelAt(i), tick)
    }
    return
  }
  let channel = channelAt(select)
  if (!(value & 0x30)) {
    latchCount(channel, tick)
    return
  }
  hold(channel, tick)
  set(channel, CONTROL, value & 0x3f)
  set(channel, WRITE_LOW, 0)
  set(channel, READ_HIGH, 0)
  set(channel, LATCHED, 0)
  set(channel, STATUS, 0)
}

/** Ports 0x40..0x43. */
export function pitWrite(port: u32, value: u32, now: u64): void {
  value &= 0xff
  let index = port & 3
  let tick = ticks(now)
  if (index == 3) {
    writeControl(value, tick)
    if (value >> 6 == 0 && value & 0x30) schedule(tick, 0)
    return
  }
  let channel = channelAt(index)
  let access = accessOf(channel)
  if (access == 1) {
    loadCount(channel, value, tick)
  } else if (access == 2) {
    loadCount(channel, value << 8, tick)
  } else if (get(channel, WRITE_LOW) & 0x100) {
    let low = get(channel, WRITE_LOW) & 0xff
    set(channel, WRITE_LOW, 0)
    loadCount(channel, value << 8 | low, tick)
  } else {
    set(channel, WRITE_LOW, 0x100 | value)
    if (modeOf(channel) == 0) hold(channel, tick) // the first byte stops mode 0 and lowers OUT
  }
  if (index == 0) schedule(tick, 0)
}

export function pitRead(port: u32, now: u64): u32 {
  let index = port & 3
  if (index == 3) return 0
  let channel = channelAt(index)
  let status = get(channel, STATUS)
  if (status & 0x100) {
    set(channel, STATUS, 0)
    return status & 0xff
  }
  let latched = get(channel, LATCHED)
  let value = latched & 0x10000 ? latched & 0xffff : counter(channel, ticks(now))
  let access = accessOf(channel)
  let high = access == 2 || (access == 3 && get(channel, READ_HIGH) != 0)
  if (access == 3) set(channel, READ_HIGH, high ? 0 : 1)
  if (access != 3 || high) set(channel, LATCHED, 0)
  return high ? value >> 8 : value & 0xff
}

function setGate(channel: usize, gate: u32, tick: i64): void {
  if (get(channel, GATE) == gate) return
  settle(channel, tick)
  let mode = modeOf(channel)
  let state = get(channel, STATE)
  if (gate == 0) {
    if (mode != 1 && mode != 5 && state == COUNTING) {
      store<i64>(channel + ELAPSED, max<i64>(elapsed(channel, tick), 0))
      set(channel, STATE, STOPPED)
    }
  } else if (state != IDLE) {
    if (mode == 0 || mode == 4) {
      if (state == STOPPED) store<i64>(channel + START, tick - load<i64>(channel + ELAPSED))
    } else { // a trigger: (re)load on the next tick
      if (get(channel, NEXT)) set(channel, RELOAD, get(channel, NEXT))
      set(channel, NEXT, 0)
      store<i64>(channel + START, tick + 1)
    }
    set(channel, STATE, COUNTING)
  }
  set(channel, GATE, gate)
}

/** Bit 0 gate of channel 2, 1 speaker, 2..3 parity and channel check enables, 4 refresh toggle, 5 OUT2. */
export function pitPort61Read(now: u64): u32 {
  let refresh: u32 = now / REFRESH_NS & 1 ? 0x10 : 0
  return load<u32>(PORT61) | refresh | output(channelAt(2), ticks(now)) << 5
}

export function pitPort61Write(value: u32, now: u64): void {
  store<u32>(PORT61, value & 15)
  setGate(channelAt(2), value & 1, ticks(now))
}
