/** Options for the process around the machine: start, end, log, time, security, display. */
import type { OptionSpec } from './option-types.ts'
import { ON_OFF, PATH, TEXT_255, ignored, later } from './option-types.ts'

const NONE_ONLY: OptionSpec['form'] = {
  kind: 'keys', implied: 'type', sub: [{ key: 'type', type: { kind: 'choice', choices: [{ name: 'none' }], otherwise: 'displays' },
    help: 'only none' }],
}

export const CONTROL_OPTIONS: readonly OptionSpec[] = [
  { name: 'S', aliases: ['freeze'], group: 'Life of the process', form: { kind: 'flag' },
    help: 'Start with the vCPUs paused; the QMP command cont lets them run.' },
  { name: 'daemonize', group: 'Life of the process', form: { kind: 'flag' },
    help: 'Go on in the background; the command returns once the monitors listen.' },
  { name: 'pidfile', group: 'Life of the process', argument: 'FILE', form: { kind: 'plain', type: PATH },
    help: 'Write the process id to a new file, removed at the end. A file of a process that is gone is replaced.' },
  { name: 'no-reboot', group: 'Life of the process', form: { kind: 'flag' },
    help: 'A reset by the guest ends the process (as -action reboot=shutdown, the default of the microvm).' },
  { name: 'no-shutdown', group: 'Life of the process', form: { kind: 'flag' },
    help: 'A power-off by the guest pauses the machine (as -action shutdown=pause).' },
  {
    name: 'action', group: 'Life of the process', repeatable: true, help: 'What an event inside the guest leads to.',
    form: {
      kind: 'keys',
      sub: [
        { key: 'reboot', type: { kind: 'choice', choices: [{ name: 'reset' }, { name: 'shutdown' }] }, default: 'shutdown',
          help: 'the guest resets: start again, or end the process' },
        { key: 'shutdown', type: { kind: 'choice', choices: [{ name: 'poweroff' }, { name: 'pause' }] }, default: 'poweroff',
          help: 'the guest powers off: end the process, or pause' },
        { key: 'panic', type: { kind: 'choice', choices: [{ name: 'pause' }, { name: 'shutdown' }, { name: 'exit-failure' }, { name: 'none' }] },
          help: 'the accelerator cannot run the guest any further: pause and none keep the machine for its monitors, shutdown and exit-failure end it with status 1; '
            + 'without this it is kept where there is a monitor. A panic that the guest reports: no effect yet, for no device here reports one' },
        { key: 'watchdog', type: TEXT_255, help: 'a watchdog fires', status: later('watchdog devices') },
      ],
    },
  },

  { name: 'D', group: 'Time and debugging', argument: '[FILE]', form: { kind: 'plain', type: PATH, optional: true },
    help: 'Log to FILE (rotated at 100 MiB, 7 kept, mode 0640), or to standard error without FILE. Level: MESOVIRT_LOG_LEVEL or STRATOVIRT_LOG_LEVEL, '
      + 'one of error, warn, info (default), debug, trace.' },
  { name: 'd', group: 'Time and debugging', argument: 'ITEM[,ITEM...]', form: { kind: 'plain', type: TEXT_255 },
    help: 'Logs what the guest does, to the file of -D or to standard error; of tcg only, which it therefore chooses. Items: int (interrupts and exceptions), cpu_reset, in_asm (code that is decoded, as bytes), '
      + 'exec (each block that is executed, one at a time), mmu (translations), guest_errors (registers that are not there), jit (hot and dropped code).' },
  {
    name: 'trace', group: 'Time and debugging', repeatable: true, help: 'Prints events of one kind as they happen.',
    form: {
      kind: 'keys', implied: 'enable',
      sub: [
        { key: 'enable', type: { kind: 'choice', choices: [{ name: 'boot', help: 'boot phases with their times' }] },
          help: 'boot: boot phases with their times' },
        { key: 'file', type: PATH, help: 'trace destination', status: later('trace files') },
        { key: 'type', type: TEXT_255, help: 'trace points', status: later('trace points') },
        { key: 'events', type: TEXT_255, help: 'list of trace points', status: later('trace points') },
      ],
    },
  },
  {
    name: 'icount', group: 'Time and debugging', help: 'Guest time follows the number of instructions: runs repeat exactly. Of tcg only, which it therefore chooses.',
    form: {
      kind: 'keys', implied: 'shift',
      sub: [
        { key: 'shift', type: { kind: 'integer', min: 0, max: 10 }, default: '3', help: 'one instruction takes 2^shift ns' },
        { key: 'sleep', type: ON_OFF, default: 'on', help: 'an idle guest waits in real time (on), or time jumps to its next timer (off)' },
        { key: 'align', type: { kind: 'boolean', only: false }, help: 'only off', status: ignored('guest time is never aligned to host time') },
        { key: 'rr', type: TEXT_255, help: 'record or replay', status: later('recordings of a run') },
      ],
    },
  },
  { name: 'rtc', group: 'Time and debugging', form: { kind: 'unread' }, help: 'Real-time clock.',
    status: ignored("the guest's clock is the host's, in UTC") },
  { name: 'msg', group: 'Time and debugging', form: { kind: 'unread' }, help: 'Format of messages.', status: ignored('messages have one format') },
  { name: 'mod-test', group: 'Time and debugging', form: { kind: 'unread' }, help: 'Socket that drives the test accelerator.',
    status: later('device tests without a CPU (test)') },

  { name: 'help', aliases: ['h', '?'], group: 'Information', form: { kind: 'flag' },
    help: 'Print this text. The value help after an option prints what it accepts: -machine help.' },
  { name: 'version', aliases: ['V'], group: 'Information', form: { kind: 'flag' }, help: 'Print the version.' },
  { name: 'no-user-config', group: 'Information', form: { kind: 'flag' }, help: 'Read no configuration of the user.',
    status: ignored('there is no configuration file') },
  { name: 'nodefaults', group: 'Information', form: { kind: 'flag' }, help: 'No default devices.', status: ignored('there are no default devices') },

  { name: 'disable-seccomp', group: 'Security', form: { kind: 'flag' }, help: 'No system-call filter.',
    status: ignored('the filter comes with the security work; there is none to disable yet') },
  { name: 'sandbox', group: 'Security', form: { kind: 'unread' }, help: 'System-call filter of QEMU.',
    status: ignored('the filter comes with the security work') },
  { name: 'overcommit', group: 'Security', form: { kind: 'unread' }, help: 'Memory locking, CPU sharing.',
    status: ignored('guest memory is never locked') },
  { name: 'realtime', group: 'Security', form: { kind: 'unread' }, help: 'Memory locking.', status: ignored('guest memory is never locked') },

  { name: 'display', group: 'Display', help: 'Only none.',
    form: NONE_ONLY,
    status: ignored('there is no display') },
  { name: 'nographic', group: 'Display', form: { kind: 'flag' }, help: 'No display.',
    status: ignored('there is no display; it does not move the serial port: give -serial stdio') },
  { name: 'vga', group: 'Display', form: NONE_ONLY,
    help: 'Only none.', status: ignored('there is no display') },
  { name: 'vnc', group: 'Display', form: { kind: 'unread' }, help: 'VNC server.', machines: ['q35', 'virt'], status: later('remote displays') },
  { name: 'windows_emu_pid', group: 'Display', form: { kind: 'unread' }, help: 'Owner of the window.', status: later('displays') },
]
