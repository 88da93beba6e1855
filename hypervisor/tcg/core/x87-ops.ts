/**
 * Operation numbers of the x87 instructions: what `x87Op` switches on and what isa/rows-x87.ts names. Compiled by AssemblyScript and by
 * TypeScript, so it holds plain integer constants only.
 *
 * Arithmetic is form << 3 | ModRM.reg of the D8 group. Forms: M4, M8 memory real; I2, I4 memory integer; ST: ST(0) op= ST(i);
 * STI: ST(i) op= ST(0); STIP: the same, then pop.
 */
export const X87_FADD_M4 = 8, X87_FMUL_M4 = 9, X87_FCOM_M4 = 10, X87_FCOMP_M4 = 11
export const X87_FSUB_M4 = 12, X87_FSUBR_M4 = 13, X87_FDIV_M4 = 14, X87_FDIVR_M4 = 15
export const X87_FADD_M8 = 16, X87_FMUL_M8 = 17, X87_FCOM_M8 = 18, X87_FCOMP_M8 = 19
export const X87_FSUB_M8 = 20, X87_FSUBR_M8 = 21, X87_FDIV_M8 = 22, X87_FDIVR_M8 = 23
export const X87_FADD_I2 = 24, X87_FMUL_I2 = 25, X87_FCOM_I2 = 26, X87_FCOMP_I2 = 27
export const X87_FSUB_I2 = 28, X87_FSUBR_I2 = 29, X87_FDIV_I2 = 30, X87_FDIVR_I2 = 31
export const X87_FADD_I4 = 32, X87_FMUL_I4 = 33, X87_FCOM_I4 = 34, X87_FCOMP_I4 = 35
export const X87_FSUB_I4 = 36, X87_FSUBR_I4 = 37, X87_FDIV_I4 = 38, X87_FDIVR_I4 = 39
export const X87_FADD_ST = 40, X87_FMUL_ST = 41, X87_FCOM_ST = 42, X87_FCOMP_ST = 43
export const X87_FSUB_ST = 44, X87_FSUBR_ST = 45, X87_FDIV_ST = 46, X87_FDIVR_ST = 47
export const X87_FADD_STI = 48, X87_FMUL_STI = 49, X87_FSUB_STI = 52, X87_FSUBR_STI = 53
export const X87_FDIV_STI = 54, X87_FDIVR_STI = 55
export const X87_FADD_STIP = 56, X87_FMUL_STIP = 57, X87_FSUB_STIP = 60, X87_FSUBR_STIP = 61
export const X87_FDIV_STIP = 62, X87_FDIVR_STIP = 63

// Loads.
export const X87_FLD_M4 = 64, X87_FLD_M8 = 65, X87_FLD_M10 = 66, X87_FLD_STI = 67, X87_FILD_I2 = 68, X87_FILD_I4 = 69, X87_FILD_I8 = 70
export const X87_FBLD = 71, X87_FLD1 = 72, X87_FLDL2T = 73, X87_FLDL2E = 74, X87_FLDPI = 75, X87_FLDLG2 = 76, X87_FLDLN2 = 77, X87_FLDZ = 78

// Stores. FSTP8 and FSTP9 (DF D0, DF D8) are undocumented doubles of FSTP ST(i); FSTPNCE (D9 D8) is one that does not check for an empty ST(0).
export const X87_FST_M4 = 79, X87_FSTP_M4 = 80, X87_FST_M8 = 81, X87_FSTP_M8 = 82, X87_FSTP_M10 = 83, X87_FST_STI = 84, X87_FSTP_STI = 85
export const X87_FSTPNCE = 86, X87_FIST_I2 = 87, X87_FISTP_I2 = 88, X87_FIST_I4 = 89, X87_FISTP_I4 = 90, X87_FISTP_I8 = 91, X87_FISTTP_I2 = 92
export const X87_FISTTP_I4 = 93, X87_FISTTP_I8 = 94, X87_FBSTP = 95

// Comparisons.
export const X87_FCOMPP = 96, X87_FUCOM = 97, X87_FUCOMP = 98, X87_FUCOMPP = 99, X87_FCOMI = 100, X87_FCOMIP = 101, X87_FUCOMI = 102
export const X87_FUCOMIP = 103, X87_FTST = 104, X87_FXAM = 105

// Register and stack operations.
export const X87_FXCH = 106, X87_FFREE = 107, X87_FFREEP = 108, X87_FINCSTP = 109, X87_FDECSTP = 110, X87_FNOP = 111, X87_FCMOVB = 112
export const X87_FCMOVE = 113, X87_FCMOVBE = 114, X87_FCMOVU = 115, X87_FCMOVNB = 116, X87_FCMOVNE = 117, X87_FCMOVNBE = 118
export const X87_FCMOVNU = 119

// Arithmetic on ST(0).
export const X87_FCHS = 120, X87_FABS = 121, X87_FSQRT = 122, X87_FSCALE = 123, X87_FXTRACT = 124, X87_FPREM = 125, X87_FPREM1 = 126
export const X87_FRNDINT = 127, X87_F2XM1 = 128, X87_FYL2X = 129, X87_FYL2XP1 = 130, X87_FPTAN = 131, X87_FPATAN = 132, X87_FSIN = 133
export const X87_FCOS = 134, X87_FSINCOS = 135

// Control. The environment forms for 16-bit operand size are the 32-bit one + 1.
export const X87_FLDENV = 136, X87_FLDENV14 = 137, X87_FNSTENV = 138, X87_FNSTENV14 = 139, X87_FRSTOR = 140, X87_FRSTOR94 = 141
export const X87_FNSAVE = 142, X87_FNSAVE94 = 143, X87_FLDCW = 144, X87_FNSTCW = 145, X87_FNSTSW = 146, X87_FNSTSW_AX = 147, X87_FNINIT = 148
export const X87_FNCLEX = 149, X87_FWAIT = 150, X87_EMMS = 151, X87_FXSAVE = 152, X87_FXSAVE64 = 153, X87_FXRSTOR = 154, X87_FXRSTOR64 = 155
export const X87_LDMXCSR = 156, X87_STMXCSR = 157, X87_FNNOP = 158
