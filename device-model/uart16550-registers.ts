/** Registers and bits of the 16550A (PC16550D data sheet, section 8). Left out: what uart16550.ts leaves out. */

/** Ports of one UART. */
export const UART16550_SIZE = 8
/** Offsets from the port base; DLAB selects the divisor pair at the first two. */
export const RBR_THR = 0, IER = 1, IIR_FCR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7

export const IER_RECEIVED = 0b0001
export const IER_THR_EMPTY = 0b0010
export const IER_LINE_STATUS = 0b0100
export const IER_MODEM_STATUS = 0b1000
export const IER_MASK = 0b1111

// Values of IIR in falling priority (data sheet table 5).
export const IIR_LINE_STATUS = 0b0110
export const IIR_RECEIVED = 0b0100
export const IIR_TIMEOUT = 0b1100
export const IIR_THR_EMPTY = 0b0010
export const IIR_MODEM_STATUS = 0b0000
export const IIR_NONE = 0b0001
export const IIR_FIFO_ENABLED = 0b1100_0000

export const FCR_ENABLE = 0b0001
export const FCR_CLEAR_RECEIVER = 0b0010
export const FCR_KEPT = 0b1100_0001

export const LCR_WORD_LENGTH = 0b0000_0011 // 5 + n data bits
export const LCR_TWO_STOP_BITS = 0b0000_0100
export const LCR_PARITY = 0b0000_1000
export const LCR_DLAB = 0b1000_0000

export const MCR_OUT2 = 0b0000_1000
export const MCR_LOOP = 0b0001_0000
export const MCR_MASK = 0b0001_1111

export const LSR_DATA_READY = 0b0000_0001
export const LSR_OVERRUN = 0b0000_0010
export const LSR_BREAK = 0b0001_0000
export const LSR_IDLE = 0b0110_0000 // THR and shift register empty: our transmitter takes no time

export const MSR_DELTA_MASK = 0b0000_1111
export const MSR_RI = 0b0100_0000
export const MSR_PRESENT = 0b1011_0000 // DCD, DSR, CTS: something is plugged in

/** What the bus may do without asking the device; the device switches it off while it does not hold. */
export const UART16550_SHADOW = {
  shadow: [IER, LCR, MCR, LSR, MSR, SCR].map((offset) => ({ offset, size: 1 as const })),
  posted: [{ offset: RBR_THR, size: 1 as const, keepsShadow: true }],
}
