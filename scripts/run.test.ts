import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

/** A copy of the script in a project whose programs only say how they were called. */
const root = fs.mkdtempSync(path.join(os.tmpdir(), 'mesovirt-run-'))
afterAll(() => fs.rmSync(root, { recursive: true }))

const write = (name: string, text: string, mode = 0o644) => {
  fs.mkdirSync(path.join(root, path.dirname(name)), { recursive: true })
  fs.writeFileSync(path.join(root, name), text, { mode })
}

beforeAll(() => {
  write('scripts/run.sh', fs.readFileSync(new URL('./run.sh', import.meta.url), 'utf8'))
  write('package-lock.json', '{}\n')
  write('bin/npm', '#!/bin/sh\necho "npm $*" >>calls\n[ ! -e fail-npm ] || { echo "npm says why" >&2; exit 3; }\nmkdir -p node_modules\n', 0o755)
  write('scripts/build.mjs', `import fs from 'node:fs'
fs.appendFileSync('calls', 'build ' + process.argv.slice(2).join(' ') + '\\n')
console.log('building noise')
fs.mkdirSync('dist', { recursive: true })
fs.writeFileSync('dist/core.wasm', '')
fs.writeFileSync('dist/mesovirt.js', ${JSON.stringify(`import fs from 'node:fs'
const args = process.argv.slice(2)
if (args[0] === 'guest') console.log(args.includes('--initrd-only') ? 'initrd /g/i only' : 'kernel /g/k\\nvmlinux /g/v x\\ninitrd /g/i' + (args.includes('--disk') ? '\\ndisk /g/' + (args[args.indexOf('--disk') + 1] ?? 'a,b') : ''))
else console.log(JSON.stringify({ args, input: fs.readFileSync(0, 'utf8') }))
`)})
`)
  for (const folder of ['src', 'machine-manager', 'machine', 'boot-loader', 'device-model', 'hypervisor', 'address-space', 'host']) fs.mkdirSync(path.join(root, folder))
  write('dist/package.json', '{"type":"module"}')
})

function run(args: string[], env: Record<string, string> = {}, input = '') {
  fs.rmSync(path.join(root, 'calls'), { force: true })
  const result = spawnSync('sh', [path.join(root, 'scripts/run.sh'), ...args], {
    cwd: os.tmpdir(), input, encoding: 'utf8', env: { ...process.env, MESOVIRT_KERNEL: '', MESOVIRT_INITRD: '', PATH: `${root}/bin:${process.env['PATH'] ?? ''}`, ...env },
  })
  const calls = fs.existsSync(path.join(root, 'calls')) ? fs.readFileSync(path.join(root, 'calls'), 'utf8').trim().split('\n') : []
  const launched = result.stdout.startsWith('{') ? JSON.parse(result.stdout) as { args: string[]; input: string } : { args: [], input: '' }
  return { ...result, calls, launched }
}

const DEFAULTS = ['-machine', 'microvm', '-m', '256', '-serial', 'stdio', '-kernel', '/g/v x', '-initrd', '/g/i', '-append', 'console=ttyS0 panic=1']

describe('npm start', () => {
  it('says why packages cannot be installed', () => {
    write('fail-npm', '')
    const { status, stderr } = run(['start'])
    fs.rmSync(path.join(root, 'fail-npm'))
    expect(status).toBe(1)
    expect(stderr).toMatch(/npm says why\nmesovirt: installing packages failed \(status 3\)/)
  })

  it('installs and builds once, silently, and boots the fetched guest', () => {
    const first = run(['start'])
    expect(first.calls).toEqual(['npm ci --no-audit --no-fund', 'build --no-types'])
    expect(first.stderr).toBe('')
    expect(first.launched.args).toEqual(DEFAULTS)
    expect(run(['start']).calls).toEqual([])
  })

  it('installs and builds again when the lock file or a source changed', () => {
    const later = new Date(Date.now() + 10_000)
    write('package-lock.json', '{ }\n')
    expect(run(['start']).calls[0]).toMatch(/^npm ci/)
    write('src/new.ts', '')
    fs.utimesSync(path.join(root, 'src/new.ts'), later, later)
    expect(run(['start']).calls).toEqual(['build --no-types'])
    fs.rmSync(path.join(root, 'src/new.ts'))
  })

  it.each([[[], 'a,,b'], [['./tree'], './tree']])('boots from a disk with --disk %j, with a network', (folder, image) => {
    write('bin/debootstrap', '', 0o755)
    write('bin/mke2fs', '', 0o755)
    const { launched, stderr } = run(['start', '--disk', ...folder, '-smp', '2'])
    expect(stderr).toBe('')
    expect(launched.args).toEqual(['-machine', 'microvm', '-m', '512', '-serial', 'stdio', '-kernel', '/g/v x', '-initrd', '/g/i',
      '-append', 'console=ttyS0 panic=1 root=/dev/vda rw net.ifnames=0', '-drive', `id=root,file=/g/${image},format=raw,if=none`,
      '-device', 'virtio-blk-device,drive=root,id=root', '-netdev', 'user,id=net', '-device', 'virtio-net-device,netdev=net,id=net', '-smp', '2'])
  })

  it('passes standard input to the machine', () => {
    expect(run(['start'], {}, 'uname -a\nexit\n').launched.input).toBe('uname -a\nexit\n')
  })

  it('adds the user\'s options, which replace its own', () => {
    expect(run(['start', '-smp', '4']).launched.args).toEqual([...DEFAULTS, '-smp', '4'])
    const { args } = run(['start', '-m', '1G', '-append', 'console=ttyS0 quiet']).launched
    expect(args.filter((arg) => arg === '-m' || arg === '-append')).toHaveLength(2)
    expect(args.slice(-4)).toEqual(['-m', '1G', '-append', 'console=ttyS0 quiet'])
  })

  it('boots the kernel that MESOVIRT_KERNEL or -kernel names, with the initramfs that goes with it', () => {
    const pair = (args: string[], option: string) => args.includes(option) ? args[args.indexOf(option) + 1] : undefined
    const named = run(['start'], { MESOVIRT_KERNEL: '/my/kernel', MESOVIRT_INITRD: '/my/initrd' }).launched.args
    expect([pair(named, '-kernel'), pair(named, '-initrd')]).toEqual(['/my/kernel', '/my/initrd'])
    const option = run(['start', '-kernel', '/own', '-initrd', '/own-initrd']).launched.args
    expect(option.filter((arg) => arg === '-kernel' || arg === '-initrd')).toHaveLength(2)
    expect([pair(option, '-kernel'), pair(option, '-initrd')]).toEqual(['/own', '/own-initrd'])
  })
})

describe('run.sh', () => {
  it('with an unknown task says how it is used', () => {
    const { status, stderr } = run(['dance'])
    expect(status).toBe(1)
    expect(stderr).toMatch(/usage: run\.sh start\|test\|test:full\|test:kvm\|bench/)
  })
})
