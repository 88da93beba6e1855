/**
 * Downloads packages with the host's apt, signatures checked by apt itself, into a folder of ours; nothing is installed. Where the system's
 * package lists are missing or out of date, a private apt state is kept beside the downloads, so that neither root nor a change to the system is needed.
 */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { MesovirtError } from '../../host/errors.ts'
import type { Progress } from './progress.ts'

/** What a person without apt can do instead. */
export const WITHOUT_APT = 'name a kernel yourself: mesovirt -kernel PATH -initrd PATH, or MESOVIRT_KERNEL=PATH MESOVIRT_INITRD=PATH npm start'

const AMD64 = ['-o', 'APT::Architecture=amd64', '-o', 'APT::Architectures=amd64', '-o', 'APT::Sandbox::User=root', '-o', 'Debug::NoLocking=true']

export class Apt {
  readonly #folder: string
  readonly #progress: Progress
  /** Options that select the private state once it is needed. */
  #state: readonly string[] = []

  /** @param folder existing folder for downloads and the private state */
  constructor(folder: string, progress: Progress) {
    this.#folder = folder
    this.#progress = progress
  }

  /**
   * The package a metapackage stands for (`linux-image-cloud-amd64` depends on `linux-image-6.1.0-56-cloud-amd64`).
   * @param dependency what the name of the real package looks like
   * @throws MesovirtError GUEST_UNAVAILABLE
   */
  async resolve(metapackage: string, dependency: RegExp): Promise<string> {
    const find = async () => {
      const { stdout } = await this.#run('apt-cache', ['depends', metapackage])
      return [...stdout.matchAll(/^[ |]*Depends: (\S+)$/gm)].map((match) => match[1] as string).find((name) => dependency.test(name))
    }
    const name = await find() ?? (await this.#usePrivateState(), await find())
    if (name === undefined) throw new MesovirtError('GUEST_UNAVAILABLE', `apt knows no package ${metapackage} (its sources are not Debian's); ${WITHOUT_APT}`)
    return name
  }

  /**
   * Downloads one package and returns its file.
   * @throws MesovirtError GUEST_UNAVAILABLE, GUEST_DOWNLOAD
   */
  async download(name: string): Promise<string> {
    const folder = fs.mkdtempSync(path.join(this.#folder, 'download-'))
    try {
      this.#progress.step(`downloading ${name}`)
      let result = await this.#download(name, folder)
      if (result.status !== 0 && this.#state.length === 0) {
        await this.#usePrivateState() // the system's lists are missing, or name versions that are gone
        this.#progress.step(`downloading ${name}`)
        result = await this.#download(name, folder)
      }
      const deb = fs.readdirSync(folder).find((file) => file.endsWith('.deb'))
      if (result.status !== 0 || deb === undefined) {
        throw new MesovirtError('GUEST_DOWNLOAD', `apt cannot download ${name}: ${lastLine(result.stderr)}; check the network and /etc/apt/sources.list, or ${WITHOUT_APT}`)
      }
      const target = path.join(this.#folder, deb)
      fs.renameSync(path.join(folder, deb), target)
      return target
    } finally {
      fs.rmSync(folder, { recursive: true, force: true })
    }
  }

  async #download(name: string, folder: string): Promise<Result> {
    const timer = setInterval(() => {
      const sizes = fs.readdirSync(folder).filter((file) => file.endsWith('.deb')).map((file) => fs.statSync(path.join(folder, file), { throwIfNoEntry: false })?.size ?? 0)
      this.#progress.detail(`${(sizes.reduce((sum, size) => sum + size, 0) / 1e6).toFixed(0)} MB`)
    }, 200)
    try {
      return await this.#run('apt-get', ['-qq', 'download', name], folder)
    } finally {
      clearInterval(timer)
    }
  }

  async #usePrivateState(): Promise<void> {
    if (this.#state.length > 0) return
    const state = path.join(this.#folder, 'apt')
    for (const part of ['state/lists/partial', 'cache/archives/partial']) fs.mkdirSync(path.join(state, part), { recursive: true })
    fs.writeFileSync(path.join(state, 'status'), '')
    this.#state = [
      '-o', `Dir::State=${state}/state`, '-o', `Dir::State::lists=${state}/state/lists`, '-o', `Dir::State::status=${state}/status`, '-o', `Dir::Cache=${state}/cache`,
    ]
    this.#progress.step('reading the package lists')
    const { status, stderr } = await this.#run('apt-get', ['-qq', 'update'])
    if (status !== 0) throw new MesovirtError('GUEST_DOWNLOAD', `apt cannot read its package lists: ${lastLine(stderr)}; check the network, or ${WITHOUT_APT}`)
  }

  #run(command: string, args: readonly string[], cwd: string = this.#folder): Promise<Result> {
    return new Promise((resolve, reject) => {
      const child = spawn(command, [...AMD64, ...this.#state, ...args], { cwd, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' } })
      const stdout: Buffer[] = [], stderr: Buffer[] = []
      child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk))
      child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk))
      child.on('error', (error: NodeJS.ErrnoException) => reject(error.code === 'ENOENT'
        ? new MesovirtError('GUEST_UNAVAILABLE', `this system has no ${command}, so no Debian guest can be fetched; ${WITHOUT_APT}`)
        : error))
      child.on('close', (status) => resolve({ status, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() }))
    })
  }
}

interface Result { readonly status: number | null; readonly stdout: string; readonly stderr: string }

/** The last error apt gave, without its mark. */
function lastLine(text: string): string {
  const lines = text.split('\n').map((line) => line.trim()).filter((line) => line !== '')
  return (lines.findLast((line) => line.startsWith('E:')) ?? lines.at(-1) ?? 'no reason given').replace(/^[EW]: /, '')
}
