/** A doctor's report as text: sections, a verdict per line, aligned, what it means and what to do below it. */
import { wrap } from '../../machine-manager/options/help.ts'
import { SECTIONS } from './judge.ts'
import type { DoctorReport, Finding, Verdict } from './judge.ts'

export interface TextStyle { readonly columns: number; readonly colour: boolean }

const VERDICT_COLUMN = 2
const SUBJECT_COLUMN = 8
const TEXT_COLUMN = 25
const MIN_WIDTH = 60
const MAX_WIDTH = 120
const COLOURS: Readonly<Record<Verdict, number>> = { ok: 32, info: 2, warn: 33, fail: 31 }

export function renderReport({ findings, conclusion }: DoctorReport, { columns, colour }: TextStyle): string {
  const width = Math.max(MIN_WIDTH, Math.min(MAX_WIDTH, columns))
  const lines: string[] = []
  for (const section of SECTIONS) {
    const own = findings.filter((finding) => finding.section === section)
    if (own.length > 0) lines.push(section, ...own.flatMap((finding) => renderFinding(finding, width, colour)), '')
  }
  return `${[...lines, ...wrap(conclusion, 0, width)].join('\n')}\n`
}

function renderFinding({ verdict, subject, found, meaning, fix }: Finding, width: number, colour: boolean): string[] {
  const [first = '', ...rest] = wrap(meaning === undefined ? found : `${found}; ${meaning}`, TEXT_COLUMN, width)
  const word = colour ? `\x1b[${COLOURS[verdict]}m${verdict}\x1b[0m` : verdict
  const head = `${' '.repeat(VERDICT_COLUMN)}${word}${' '.repeat(Math.max(1, SUBJECT_COLUMN - VERDICT_COLUMN - verdict.length))}`
    + `${subject.padEnd(TEXT_COLUMN - SUBJECT_COLUMN - 1)} ${first.trimStart()}`
  return [head, ...rest, ...(fix === undefined ? [] : wrap(`fix: ${fix}`, TEXT_COLUMN, width, TEXT_COLUMN + 5))]
}
