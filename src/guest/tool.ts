/** Programs of the host that a guest is made with. */
import { spawn } from 'node:child_process'
import { MesovirtError } from '../../host/errors.ts'

/** Keeps what a program that says much said last. */
const MOST_OUTPUT = 64 * 1024

export interface ToolResult { readonly status: number | null; readonly stdout: string; readonly stderr: string }

/**
 * @param name also looked for where only root has its path
 * @param packageName Debian's, for the error
 * @param onLine called for each line of standard output
 * @throws MesovirtError TOOL_MISSING
 */
export function runTool(name: string, packageName: string, args: readonly string[], onLine?: (line: string) => void): Promise<ToolResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(name, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive', PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` } })
    let stdout = '', stderr = '', line = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout = (stdout + text).slice(-MOST_OUTPUT)
      const lines = (line + text).split('\n')
      line = lines.pop() ?? ''
      lines.forEach((each) => onLine?.(each))
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => { stderr = (stderr + text).slice(-MOST_OUTPUT) })
    child.on('error', (error: NodeJS.ErrnoException) => reject(error.code === 'ENOENT'
      ? new MesovirtError('TOOL_MISSING', `${name} is not installed; on Debian: apt-get install ${packageName}`)
      : error))
    child.on('close', (status) => resolve({ status, stdout, stderr }))
  })
}
