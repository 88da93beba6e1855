/** The whole decode table: what core/decode.ts is generated from, what the vector generator draws from, what docs count. */
import type { Row } from './row.ts'
import { INT_ROWS } from './rows-int.ts'
import { MMX_ROWS } from './rows-mmx.ts'
import { SSE_ROWS } from './rows-sse.ts'
import { X87_ROWS } from './rows-x87.ts'

export const ROWS: readonly Row[] = [...INT_ROWS, ...X87_ROWS, ...MMX_ROWS, ...SSE_ROWS]
