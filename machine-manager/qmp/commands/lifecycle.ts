/** QMP commands that change what the machine does: stop, cont, quit, reset and power button. Texts and idempotence as QEMU's. */
import { defineCommand, QmpError } from './define.ts'

const quit = defineCommand({
  name: 'quit',
  doc: 'Ends the machine without asking the guest. SHUTDOWN follows with reason `host-qmp-quit`, then the process ends with status 0.',
  arguments: {},
  example: '{"execute":"quit"}',
  run(_args, { vm }) {
    vm.quit('host-qmp-quit')
    return {}
  },
})

const stop = defineCommand({
  name: 'stop',
  doc: 'Pauses every vCPU. STOP follows. A machine that is not running stays as it is: success, no event.',
  arguments: {},
  example: '{"execute":"stop"}',
  async run(_args, { vm }) {
    if (vm.status() === 'running') await vm.stop()
    return {}
  },
})

const cont = defineCommand({
  name: 'cont',
  doc: 'Lets the vCPUs run, also after `-S`. RESUME follows. A running machine stays as it is: success, no event. '
    + 'A machine that has shut down, panicked or failed needs system_reset first.',
  arguments: {},
  example: '{"execute":"cont"}',
  async run(_args, { vm }) {
    switch (vm.status()) {
      case 'running': return {}
      case 'prelaunch':
      case 'paused':
      case 'io-error':
        await vm.cont()
        return {}
      default: throw new QmpError('GenericError', 'Resetting the Virtual Machine is required')
    }
  },
})

const systemPowerdown = defineCommand({
  name: 'system_powerdown',
  doc: 'Presses the power button; the guest decides what to do. POWERDOWN follows.',
  arguments: {},
  example: '{"execute":"system_powerdown"}',
  run(_args, { vm }) {
    vm.powerdown()
    return {}
  },
})

const systemReset = defineCommand({
  name: 'system_reset',
  doc: 'Restarts the machine from its kernel, whatever `-action` and `-no-reboot` say about resets by the guest. '
    + 'RESET follows with reason `host-qmp-system-reset`.',
  arguments: {},
  example: '{"execute":"system_reset"}',
  async run(_args, { vm }) {
    await vm.reset()
    return {}
  },
})

export const lifecycleCommands = [quit, stop, cont, systemPowerdown, systemReset] as const
