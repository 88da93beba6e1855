/** QMP commands about character devices. Names and shapes as QEMU's. */
import * as v from 'valibot'
import { CHARACTER_DEVICES } from '../../options/table-backends.ts'
import { choice, defineCommand, integer, optional, QmpError, text } from './define.ts'

const BACKEND = v.pipe(v.record(v.string(), v.unknown(), 'object'), v.description('`{type, data}`: `null`, `file {out, append}`, `pipe {device}`, `pty`, `ringbuf {size}`, '
  + '`socket {addr: {type: "unix", data: {path}} or {type: "inet", data: {host, port}}, server, wait, reconnect, replay}`; each with `logfile` and `logappend`'))
const FORMAT = optional(choice(['utf8', 'base64']))

const queryChardev = defineCommand({
  name: 'query-chardev',
  doc: 'The character devices; the file name of a pty names its terminal.',
  arguments: {},
  returns: '`[{filename: string, frontend-open: boolean, label: string}]`',
  example: '{"execute":"query-chardev"}',
  run: (_args, { vm }) => vm.chardevs.list().map(({ filename, frontendOpen, label }) => ({ filename, 'frontend-open': frontendOpen, label })),
})

const queryChardevBackends = defineCommand({
  name: 'query-chardev-backends',
  doc: 'The kinds of character devices that chardev-add can open.',
  arguments: {},
  returns: '`[{name: string}]`',
  example: '{"execute":"query-chardev-backends"}',
  run: () => CHARACTER_DEVICES.filter(({ status }) => status?.state !== 'later').map(({ name }) => ({ name })),
})

const chardevAdd = defineCommand({
  name: 'chardev-add',
  doc: 'Opens a character device, for a console or channel that device_add plugs in. Unlike with -chardev, a socket is a server that does not wait unless it says otherwise.',
  arguments: { id: text('name of the character device'), backend: BACKEND },
  returns: '`{pty?: string}`',
  example: '{"execute":"chardev-add","arguments":{"id":"c1","backend":{"type":"socket","data":{"addr":{"type":"unix","data":{"path":"/tmp/c1.sock"}},"server":true,"wait":false}}}}',
  run: ({ id, backend }, { vm }) => vm.chardevs.add(id, backend),
})

const chardevChange = defineCommand({
  name: 'chardev-change',
  doc: 'Puts something else behind a character device; who uses it goes on with that.',
  arguments: { id: text('name of the character device'), backend: BACKEND },
  returns: '`{pty?: string}`',
  example: '{"execute":"chardev-change","arguments":{"id":"c1","backend":{"type":"null"}}}',
  run: ({ id, backend }, { vm }) => vm.chardevs.change(id, backend),
})

const chardevRemove = defineCommand({
  name: 'chardev-remove',
  doc: 'Closes a character device that nobody uses.',
  arguments: { id: text('name of the character device') },
  example: '{"execute":"chardev-remove","arguments":{"id":"c1"}}',
  async run({ id }, { vm }) {
    await vm.chardevs.remove(id)
    return {}
  },
})

const ringbufRead = defineCommand({
  name: 'ringbuf-read',
  doc: 'Takes the oldest bytes out of a ring buffer. In utf8, what is none becomes U+FFFD.',
  arguments: { device: text('name of the character device'), size: integer('most bytes to take'), format: FORMAT },
  returns: '`string`',
  example: '{"execute":"ringbuf-read","arguments":{"device":"ring0","size":4096}}',
  run({ device, size, format = 'utf8' }, { vm }) {
    if (size <= 0) throw new QmpError('GenericError', 'size must be greater than zero')
    return Buffer.from(vm.chardevs.readRing(device, size)).toString(format)
  },
})

const ringbufWrite = defineCommand({
  name: 'ringbuf-write',
  doc: 'Puts bytes into a ring buffer, behind those that are there.',
  arguments: { device: text('name of the character device'), data: text('the bytes'), format: FORMAT },
  example: '{"execute":"ringbuf-write","arguments":{"device":"ring0","data":"text"}}',
  run({ device, data, format = 'utf8' }, { vm }) {
    vm.chardevs.writeRing(device, Buffer.from(data, format))
    return {}
  },
})

export const chardevCommands = [queryChardev, queryChardevBackends, chardevAdd, chardevChange, chardevRemove, ringbufRead, ringbufWrite] as const
