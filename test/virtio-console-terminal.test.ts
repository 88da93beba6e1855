/** The terminal that a console is on has a size, which the guest's console has too. Apart from the other consoles, for the lab of test:kvm has no terminals. */
import { expect, it } from 'vitest'
import { describeWhere } from './support/optional.ts'
import { HAS_TERMINALS, Terminal, TERMINALS } from './support/terminal.ts'
import { guests, linux, PROMPT } from './support/vm.ts'

describeWhere(HAS_TERMINALS, TERMINALS, 'a virtconsole on a terminal', () => {
  it('has its size, and hears of another one', async () => {
    const terminal = await Terminal.open()
    terminal.start(linux({
      args: ['-serial', 'none', '-chardev', 'stdio,id=c0', '-device', 'virtio-serial-device', '-device', 'virtconsole,chardev=c0'],
      initrd: guests.devices.initrd, append: 'console=hvc0 panic=1 quiet',
    }))
    await terminal.screen.until(PROMPT)
    // Columns of the terminal that tests open: 120, its rows: 40.
    terminal.type('echo size $(stty size)\r')
    await terminal.screen.until('size 40 120')
    terminal.resize(91, 27)
    terminal.type('until [ "$(stty size)" = "27 91" ]; do :; done; echo is-$((1 + 1))\r')
    await terminal.screen.until('is-2')
    terminal.type('exit\r')
    expect(await terminal.ended()).toBe(0)
    terminal.close()
  })
})
