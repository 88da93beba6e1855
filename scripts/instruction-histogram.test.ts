import { describe, expect, it } from 'vitest'
import { rowOf } from './instruction-histogram.ts'

describe('the row of an instruction', () => {
  it.each([
    ['mov rdi, rax', [0x48, 0x89, 0xc7], 'mov Ev,Gv'], ['lock cmpxchg [rdi], ecx', [0xf0, 0x0f, 0xb1, 0x0f], 'cmpxchg Ev,Gv'], ['movsd xmm0, [rax]', [0xf2, 0x0f, 0x10, 0x00], 'movsd V,M8'],
    ['movups xmm0, [rax]', [0x0f, 0x10, 0x00], 'movups V,W16'], ['pshufb xmm1, xmm2', [0x66, 0x0f, 0x38, 0x00, 0xca], 'pshufb V,W16a'], ['not ecx', [0xf7, 0xd1], 'not Ev'],
    ['push r12', [0x41, 0x54], 'push Z64'], ['fld1', [0xd9, 0xe8], 'fld1 none'], ['rep stosb', [0xf3, 0xaa], 'stos strb'],
  ])('%s', (_, code, row) => {
    const found = rowOf(Uint8Array.from([...code, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90]))
    expect(`${found?.name ?? ''} ${found?.form ?? ''}`).toBe(row)
  })
})
