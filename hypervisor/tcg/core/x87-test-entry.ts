/** Entry of the small module that isa/x87.test.ts compiles: x87 and soft-float without the rest of the core. */
export { x87Op, x87RecordsPointers, x87Stored } from './x87'
export * from './softfloat'
