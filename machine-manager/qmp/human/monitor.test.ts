import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { HumanMonitor } from './monitor.ts'
import { TestMachine } from '../test-machine.ts'

/** Expected texts were recorded from QEMU 7.2's monitor over the same bytes at the same address, unless a test says otherwise. */
function setup() {
  const vm = new TestMachine()
  const monitor = new HumanMonitor(vm)
  return { vm, hmp: (line: string, cpu = 0) => monitor.run(line, cpu) }
}

describe('xp', () => {
  it.each([
    ['xp /4xw 0x1000', '0000000000001000: 0x270a4241 0x0080ff5c 0x0b0a0908 0x0f0e0d0c\r\n'],
    ['xp /4xb 0x1000', '0000000000001000: 0x41 0x42 0x0a 0x27\r\n'],
    ['xp /20xb 0x1000', '0000000000001000: 0x41 0x42 0x0a 0x27 0x5c 0xff 0x80 0x00\r\n0000000000001008: 0x08 0x09 0x0a 0x0b 0x0c 0x0d 0x0e 0x0f\r\n0000000000001010: 0x10 0x11 0x12 0x13\r\n'],
    ['xp /3xh 0x1000', '0000000000001000: 0x4241 0x270a 0xff5c\r\n'],
    ['xp /3xg 0x1000', '0000000000001000: 0x0080ff5c270a4241 0x0f0e0d0c0b0a0908\r\n0000000000001010: 0x1716151413121110\r\n'],
    ['xp /3dw 0x1000', '0000000000001000:  654983745    8453980  185207048\r\n'],
    ['xp /9db 0x1000', '0000000000001000:  65  66  10  39  92 255 128   0\r\n0000000000001008:   8\r\n'],
    ['xp /3uh 0x1004', '0000000000001004: 65372   128  2312\r\n'],
    ['xp /3ow 0x1000', '0000000000001000: 04702441101   040177534 01302404410\r\n'],
    ['xp /3ob 0x1000', '0000000000001000: 0101 0102 012\r\n'],
    ['xp /3dg 0x1000', '0000000000001000:    36309568276021825  1084818905618843912\r\n0000000000001010:  1663540288323457296\r\n'],
    ['xp /3og 0x1000', '0000000000001000:   02007765604702441101  074160320601302404410\r\n0000000000001010: 0134260521202304410420\r\n'],
    ['xp/2x 4096+8*2', '0000000000001010: 0x13121110 0x17161514\r\n'],
    ['xp 0x1000', '0000000000001000: 0x270a4241\r\n'],
    ['xp / 0x1000', '0000000000001000: 0x270a4241\r\n'],
    ['xp/x 010000', '0000000000001000: 0x270a4241\r\n'],
    ['xp/2dxw 0x1000', '0000000000001000: 0x270a4241 0x0080ff5c\r\n'],
    ['xp/2xwb 0x1000', '0000000000001000: 0x41 0x42\r\n'],
    ['xp/0x 0x1000', ''],
    ['xp/2x 0xffffffffff0', '00000ffffffffff0: Cannot access memory\r\n'],
    ['xp/x ~0', 'ffffffffffffffff: Cannot access memory\r\n'],
    ['xp/2x -4', 'fffffffffffffffc: Cannot access memory\r\n'],
    ['xp/x 5%3', '0000000000000002: Cannot access memory\r\n'],
    ['xp', 'unexpected end of expression\r\nTry "help xp" for more information\r\n'],
    ['xp/4xw', 'unexpected end of expression\r\nTry "help xp" for more information\r\n'],
    ['xp/zz 0x1000', "invalid char in format: 'z'\r\nTry \"help xp\" for more information\r\n"],
    ['xp/-1x 0x1000', "invalid char in format: '-'\r\nTry \"help xp\" for more information\r\n"],
    ['xp/2x 0x1000 0x2000', 'xp: extraneous characters at the end of line\r\nTry "help xp" for more information\r\n'],
    ['xp/2x 0x1000,', 'xp: extraneous characters at the end of line\r\nTry "help xp" for more information\r\n'],
    ['xp/x 0y', 'xp: extraneous characters at the end of line\r\nTry "help xp" for more information\r\n'],
    ['xp/x (0x1000', "')' expected\r\nTry \"help xp\" for more information\r\n"],
    ['xp/x 1/0', 'division by zero\r\nTry "help xp" for more information\r\n'],
    ['xp/x $foo', 'unknown register\r\nTry "help xp" for more information\r\n'],
    ['xp/x "0x1000"', 'invalid char \'"\' in expression\r\nTry "help xp" for more information\r\n'],
    ['xp/2x 0xffffffffffffffffffff', 'number too large\r\nTry "help xp" for more information\r\n'],
  ])('%s', async (line, answer) => {
    expect(await setup().hmp(line)).toBe(answer)
  })

  it('shows characters, eight to a line (ours: a count of characters, whatever the size was)', async () => {
    expect(await setup().hmp('xp /9c 0x1000')).toBe("0000000000001000: 'A' 'B' '\\n' '\\'' '\\\\' '\\xff' '\\x80' '\\x00'\r\n0000000000001008: '\\x08'\r\n")
  })

  it('ends at the first line that cannot be read', async () => {
    expect(await setup().hmp('xp/40xb 0x1038')).toBe('0000000000001038: 0x38 0x39 0x3a 0x3b 0x3c 0x3d 0x3e 0x3f\r\n0000000000001040: Cannot access memory\r\n')
  })

  it('takes format and size from the dump before', async () => {
    const { hmp } = setup()
    await hmp('xp/2xg 0x1000')
    expect(await hmp('xp/1 0x1000')).toBe('0000000000001000: 0x0080ff5c270a4241\r\n')
    await hmp('xp/zz 0x1000')
    expect(await hmp('xp 0x1000')).toBe('0000000000001000: 0x0080ff5c270a4241\r\n')
  })

  it('refuses what it does not have, and dumps without bound', async () => {
    const { hmp } = setup()
    expect(await hmp('xp/2i 0x1000')).toMatch(/^format i is not available: there is no disassembler\r\n/)
    expect(await hmp('xp/1000000000x 0x1000')).toMatch(/^xp: at most 131072 bytes at a time\r\n/)
    expect(await hmp(`xp ${'('.repeat(4000)}`)).toMatch(/^expression too complex\r\n/)
    expect(await hmp(`xp ${'1+'.repeat(4000)}`)).toBe('line too long: at most 4096 characters\r\n')
  })
})

describe('x', () => {
  it('reads through the page tables, and knows registers', async () => {
    const { hmp } = setup()
    expect(await hmp('x/2xb 0xffff800000001000')).toBe('ffff800000001000: 0x41 0x42\r\n')
    expect(await hmp('x/2xb $rip')).toBe('ffff800000001004: 0x5c 0xff\r\n')
    expect(await hmp('x/2xb $pc+1')).toBe('ffff800000001005: 0xff 0x80\r\n')
    expect(await hmp('x/x $ebx')).toBe('00000000deadbeef: Cannot access memory\r\n')
  })
})

describe('info', () => {
  it('tells the run state in the words of QEMU', async () => {
    const { vm, hmp } = setup()
    expect(await hmp('info status')).toBe('VM status: running\r\n')
    vm.state = 'paused'
    expect(await hmp('  info  status ')).toBe('VM status: paused\r\n')
    vm.state = 'prelaunch'
    expect(await hmp('info status')).toBe('VM status: paused (prelaunch)\r\n')
  })

  it('shows the registers of the vCPU asked for, or of all', async () => {
    const { hmp } = setup()
    const of = (index: number) => `\r\nCPU#${index}\r\nRAX=0000000000000000 RBX=00000000deadbeef\r\nRIP=ffff800000001004 RFL=00000002 CPU=${index}\r\n`
    expect(await hmp('info registers')).toBe(of(0))
    expect(await hmp('info registers', 1)).toBe(of(1))
    expect(await hmp('info registers 1')).toBe(of(1))
    expect(await hmp('info registers -a')).toBe(of(0) + of(1))
    expect(await hmp('info registers 7')).toBe('CPU#7 not available\r\n')
    expect(await hmp('info registers -z')).toBe('registers: unsupported option -z\r\nTry "help info registers" for more information\r\n')
    expect(await hmp('info registers extra')).toBe("invalid char 'e' in expression\r\nTry \"help info registers\" for more information\r\n")
  })

  it('shows what the accelerator has done', async () => {
    const { hmp } = setup()
    expect(await hmp('info accel')).toBe('accelerator: tcg\r\nmachine time: 2.500 s\r\ninstructions: 1000000000\r\nMIPS: 400.0\r\nTLB fills: 7\r\n')
    expect(await hmp('info accel -z')).toBe('accel: extraneous characters at the end of line\r\nTry "help info accel" for more information\r\n')
  })

  it('shows what the translator has done, or that there is none', async () => {
    const { hmp, vm } = setup()
    expect(await hmp('info jit')).toBe('accelerator tcg translates nothing\r\n')
    vm.statistics = { ...vm.statistics, translator: [{ name: 'regions alive', value: 3n }] }
    expect(await hmp('info jit')).toBe('regions alive: 3\r\n')
    vm.statistics = { ...vm.statistics, symbols: [{ name: 'memset', samples: 3, percent: 75 }, { name: '(user space)', samples: 1, percent: 25 }] }
    expect(await hmp('info jit')).toBe('regions alive: 3\r\n\r\nguest symbols, share of the instructions:\r\n 75.0 %  memset\r\n 25.0 %  (user space)\r\n')
    expect(await hmp('info jit -z')).toBe('jit: extraneous characters at the end of line\r\nTry "help info jit" for more information\r\n')
  })

  it('shows the memory tree', async () => {
    const { hmp } = setup()
    expect(await hmp('info mtree')).toBe('address-space: memory\r\n  0000000000001000-000000000000103f (prio 0, ram): ram\r\n')
    expect(await hmp('info mtree -z')).toBe('mtree: unsupported option -z\r\nTry "help info mtree" for more information\r\n')
    expect(await hmp('info status -a')).toBe('status: extraneous characters at the end of line\r\nTry "help info status" for more information\r\n')
  })
})

describe('everything else', () => {
  it('is an unknown command, or help', async () => {
    const { hmp } = setup()
    expect(await hmp('foo')).toBe("unknown command: 'foo'\r\n")
    expect(await hmp('info foo')).toBe("unknown command: 'info foo'\r\n")
    expect(await hmp('')).toBe('')
    expect(await hmp('info')).toContain('info registers [-a|vcpu]  -- ')
    expect(await hmp('help x')).toMatch(/^x \/fmt addr {2}-- [^\r]*\r\n$/)
    expect(await hmp('help')).toContain('xp /fmt addr')
    expect(await hmp('help foo')).toBe("unknown command: 'foo'\r\n")
  })

  it('is text for every line', async () => {
    const { hmp } = setup()
    const word = fc.constantFrom('x', 'xp', 'info', 'registers', 'mtree', 'status', '-a', 'help', '/4xw', '0x1000', '$rip', '(', ')', '+', '-', '~', '1', '/', "'A'", ' ')
    await fc.assert(fc.asyncProperty(fc.oneof(fc.string(), fc.array(word).map((words) => words.join(' ')), fc.array(word).map((words) => words.join(''))), async (line) => {
      expect(typeof await hmp(line)).toBe('string')
    }), { numRuns: 1000 })
  })
})
