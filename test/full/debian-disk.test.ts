/** Debian's userland on a disk: `npm start -- --disk` in all its parts, from debootstrap to systemd, with a lease and a file over `-netdev user`. */
import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import http from 'node:http'
import type net from 'node:net'
import path from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { slirpVersion } from '../../host/slirp.ts'
import { describeWhere } from '../support/optional.ts'
import { Transcript } from '../support/transcript.ts'
import { endAfterwards, ROOT } from '../support/vm.ts'

const PATIENCE_MS = 20 * 60_000
const SHELL = /root@mesovirt:~# $/
const MARK = 'here it is'
const isRoot = process.getuid?.() === 0
const server = http.createServer((_, response) => response.end(MARK))
afterAll(() => server.close())

describeWhere(isRoot && spawnSync('apt-get', ['--version']).status === 0 && typeof slirpVersion() === 'string', 'root, apt and libslirp', 'npm start -- --disk', () => {
  it('boots Debian to a root shell, has a network, keeps files, and powers off with status 0', async () => {
    const port = await new Promise<number>((done) => server.listen(0, '127.0.0.1', () => done((server.address() as net.AddressInfo).port)))
    fs.rmSync(path.join(ROOT, '.cache/guest/debian.img'), { force: true })
    for (const boot of [1, 2]) {
      const child = spawn('sh', ['scripts/run.sh', 'start', '--disk'], { cwd: ROOT, stdio: ['pipe', 'pipe', 'inherit'] })
      endAfterwards(child.pid as number)
      const out = new Transcript('the console')
      child.stdout.setEncoding('utf8').on('data', (text: string) => out.append(text))
      const ended = new Promise((resolve) => child.once('close', (status) => {
        out.end(`the command ended with status ${status}`)
        resolve(status)
      }))
      const shell = async (command: string) => {
        child.stdin.write(`${command}; echo "=$?="\n`)
        return out.until(/=\d+=\r\n/, PATIENCE_MS)
      }
      await out.until(SHELL, PATIENCE_MS)
      expect(await shell('until ip -4 -o addr show scope global | grep 10.0.2.15; do sleep 1; done')).toContain('10.0.2.15/24')
      expect(await shell(`wget -q -O - http://10.0.2.2:${port}/`)).toContain(MARK)
      expect(await shell('findmnt -n -o SOURCE,FSTYPE /')).toContain('/dev/vda ext4')
      expect(await shell(boot === 1 ? 'touch /root/kept; sync' : 'test -e /root/kept')).toContain('=0=')
      child.stdin.write('systemctl poweroff\n')
      expect(await ended).toBe(0)
    }
  }, 3 * PATIENCE_MS)
})
