/** Renders docs/qmp.md from the command table, the event list and the human monitor's list. */
import { describeArguments } from './commands/define.ts'
import { COMMANDS } from './commands/table.ts'
import { HUMAN_COMMANDS } from './human/monitor.ts'
import { MAX_DUMP_BYTES } from './human/memory-dump.ts'
import { MAX_MESSAGE_BYTES, MAX_NESTING, MAX_TOKENS } from './json-stream.ts'
import { EVENTS } from './protocol.ts'
import { MAX_QUEUED_EVENTS } from './session.ts'
import type { Command } from './commands/define.ts'

const INTRODUCTION = `# QMP: steering a machine

<!-- Generated from the tables in machine-manager/qmp by "node scripts/ts.mjs scripts/generate-docs.ts". Do not edit. -->

A machine started with \`-qmp unix:vm.sock,server,nowait\` (or \`tcp:127.0.0.1:4444,server,nowait\`) listens for JSON commands. By hand:

    mesovirt qmp vm.sock                        # interactive: history, Tab completes, events appear as they come
    mesovirt qmp vm.sock -c query-status        # one command; exit status 1 when it fails
    echo 'hmp info registers' | mesovirt qmp vm.sock

From a program: \`QmpClient.connect({ unix: 'vm.sock' })\` of the library, or any QMP client.

## Rules of the wire

* The server greets with \`{"QMP":{"version":{...},"capabilities":[]}}\`. \`qmp_capabilities\` is accepted and not required.
* A command is one JSON object with \`execute\`, and optionally \`arguments\` and \`id\`. It needs no line end, may be split over packets, and many may share
  one. Single-quoted strings are understood. A repeated key is an error.
* Each command gets one line, ended by CR LF: \`{"return":...}\` or \`{"error":{"class":...,"desc":...}}\`. \`id\` may be any JSON value and comes back in both, its
  numbers digit for digit. Only when the message itself is not JSON is there no \`id\`.
* Commands of one client are answered in the order they came. An event that a command causes follows that command's reply.
* Error classes: \`CommandNotFound\` for an unknown command, \`GenericError\` for nearly all else.
* Bytes that are not JSON get an error, and the monitor stays usable: a broken message ends where its brackets balance, at a bracket of the wrong kind or at a
  line end. After a stray byte, reading goes on at the next bracket, comma, colon or line end. A byte 0xFF ends whatever is half-read.
* Limits of one message: ${MAX_MESSAGE_BYTES / 1024 / 1024} MiB, ${MAX_TOKENS / 1024} Ki tokens, ${MAX_NESTING} levels of nesting. A client that does not read its replies is not read from; of the events it has not
  taken, the newest ${MAX_QUEUED_EVENTS} are kept.
* Each \`-qmp\` or \`-mon\` is a monitor of its own with all events. It serves one client at a time; the next one waits for its greeting. Clients may come and go.
* Input sent before a hang-up is carried out: \`echo '{"execute":"quit"}' | nc -U vm.sock\` works.
`

/** The whole page, ended by a line feed. */
export function renderQmpDocs(): string {
  const events = EVENTS.map(({ name, doc, data }) => `| ${name} | ${data} | ${doc} |`)
  const human = HUMAN_COMMANDS.map(({ usage, doc }) => `| \`${usage.replace('|', '\\|')}\` | ${doc} |`)
  return [
    INTRODUCTION,
    '## Commands\n',
    ...COMMANDS.map(renderCommand),
    '## Events\n',
    'Shape: `{"event":"STOP","data":{},"timestamp":{"seconds":1700000000,"microseconds":250000}}`. `guest` tells whether the guest caused it; `reason` is one of',
    '`host-qmp-quit`, `host-qmp-system-reset`, `host-signal`, `host-error`, `guest-shutdown`, `guest-reset`, `guest-panic`.\n',
    '| Event | data | When |',
    '|---|---|---|',
    ...events,
    '\n## Human monitor\n',
    'Lines for `human-monitor-command`; in `mesovirt qmp` type `hmp` before them.\n',
    '| Line | Meaning |',
    '|---|---|',
    ...human,
    '',
    `A dump shows at most ${MAX_DUMP_BYTES / 1024} KiB of RAM. What a line leaves out (format, size) is taken from the dump before. Addresses are expressions: numbers in C's`,
    'notation, `+ - * / % & | ^ ~`, parentheses, and registers such as `$rip`. There is no disassembler, so format `i` is refused.',
    '',
  ].join('\n')
}

function renderCommand(command: Command): string {
  const rows = describeArguments(command).map((argument) =>
    `* \`${argument.name}\` (${argument.type}${argument.optional ? ', optional' : ''}): ${argument.description}`)
  return [
    `### ${command.name}`,
    '',
    command.doc,
    '',
    ...(rows.length > 0 ? ['Arguments:', ...rows, ''] : []),
    `Returns: ${command.returns ?? '`{}`'}`,
    '',
    `    ${command.example}`,
    '',
  ].join('\n')
}
