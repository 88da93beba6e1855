import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { describe, expect, it } from 'vitest'
import { SHELLS, completionScript } from './completion.ts'
import { describeOptions } from './describe.ts'
import { commandLinePage } from './docs-page.ts'
import { helpText, optionHelpText, wrap } from './help.ts'
import { isHere } from './option-types.ts'
import { OPTIONS } from './table.ts'

const COMMANDS = [{ name: 'qmp', help: "talk to a machine's monitor", options: [{ flag: '--command', help: "run one [it's: a command]" }] },
  { name: 'completion', help: 'print a completion script', options: [] }]

describe('the option table', () => {
  it('has each name once', () => {
    const names = OPTIONS.flatMap((option) => [option.name, ...(option.aliases ?? [])])
    expect(new Set(names).size).toBe(names.length)
  })

  it('has each key of an option once, and a first key that exists', () => {
    for (const { form } of OPTIONS) {
      const lists = form.kind === 'keys' ? [form.sub] : form.kind === 'variants' ? form.variants.map((variant) => [...form.common, ...variant.sub]) : []
      for (const sub of lists) {
        const keys = sub.flatMap((option) => [option.key, ...(option.aliases ?? [])])
        expect(new Set(keys).size).toBe(keys.length)
      }
      if (form.kind === 'keys' && form.implied !== undefined) expect(form.sub.map((sub) => sub.key)).toContain(form.implied)
    }
  })
})

describe('-help', () => {
  it.each([20, 40, 80, 120, 500])('fits a terminal of %i columns, as far as words do', (columns) => {
    const width = Math.max(40, Math.min(120, columns))
    const tooWide = helpText(columns).split('\n').filter((line) => line.length > width && line.trim().includes(' ') && !line.startsWith('Usage') && !line.startsWith('       mesovirt'))
    // A first column wider than its place takes a line of its own, which may itself be longer than a narrow terminal.
    expect(tooWide.filter((line) => line.trim().split(/ {2,}/).length > 1)).toEqual([])
  })

  it('names every option and every reason for ignoring one', () => {
    const text = helpText(80).replace(/\s+/g, ' ')
    for (const option of OPTIONS) {
      expect(text).toContain(`-${option.name}`)
      if (option.status?.state === 'ignored') expect(text).toContain(option.status.reason)
    }
  })

  it('explains one option', () => {
    const smp = OPTIONS.find((option) => option.name === 'smp')
    if (smp === undefined) throw new Error('no -smp')
    expect(optionHelpText(smp, 80)).toContain('maxcpus=N')
  })

  it('breaks lines at spaces and keeps long words whole', () => {
    expect(wrap('aa bb cc', 2, 7)).toEqual(['  aa bb', '  cc'])
    expect(wrap('aaaaaaaaaa b', 0, 4)).toEqual(['aaaaaaaaaa', 'b'])
    expect(wrap('', 2, 7)).toEqual([])
  })
})

describe('generated files', () => {
  it('docs/command-line.md is fresh: node scripts/ts.mjs scripts/generate-docs.ts', () => {
    expect(fs.readFileSync(new URL('../../docs/command-line.md', import.meta.url), 'utf8')).toBe(commandLinePage())
  })
})

describe('introspection', () => {
  it('lists options with their keys, without those of later work', () => {
    expect(describeOptions('m')).toEqual([{ option: 'm', parameters: [expect.objectContaining({ name: 'size', type: 'size', default: '256M' })] }])
    expect(describeOptions('vnc')).toEqual([])
    const smp = describeOptions('smp')[0]?.parameters.map((parameter) => `${parameter.name}:${parameter.type}`)
    expect(smp).toEqual(['cpus:number', 'maxcpus:number', 'sockets:number', 'dies:number', 'clusters:number', 'cores:number', 'threads:number'])
  })
})

describe('completion', () => {
  it.each(SHELLS)('%s gets every option of this version and every command', (shell) => {
    const script = completionScript(shell, COMMANDS)
    for (const option of OPTIONS) {
      const spelled = shell === 'fish' ? `-o ${option.name} ` : `-${option.name}`
      if (isHere(option)) expect(script).toContain(spelled)
    }
    expect(script).not.toContain('-vnc')
    for (const command of COMMANDS) expect(script).toContain(command.name)
    expect(script).toMatch(shell === 'fish' ? /-l command / : /--command/)
  })

  it('bash completes options, words and files', () => {
    const complete = (...words: string[]) => {
      const script = `${completionScript('bash', COMMANDS)}\nCOMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}; _mesovirt; printf '%s\\n' "\${COMPREPLY[@]}"`
      const result = spawnSync('bash', ['--norc', '-c', `compopt() { :; }; ${script}`], { encoding: 'utf8' })
      expect(result.stderr).toBe('')
      return result.stdout.trim().split('\n')
    }
    expect(complete('mesovirt', '-ker')).toEqual(['-kernel'])
    expect(complete('mesovirt', '-machine', 'm')).toEqual(['microvm'])
    expect(complete('mesovirt', 'q')).toEqual(['qmp'])
    expect(complete('mesovirt', 'qmp', '--c')).toEqual(['--command'])
    expect(complete('mesovirt', 'qmp', '-ker')).toEqual([''])
    expect(complete('mesovirt', '-accel', 'k')).toEqual(['kvm'])
    expect(complete('mesovirt', '-kernel', '/etc/passw')).toContain('/etc/passwd')
  })
})
