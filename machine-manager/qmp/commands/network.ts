/** QMP commands about networks and their cards. Names and shapes as QEMU's and StratoVirt's. */
import * as v from 'valibot'
import { defineCommand, integer, optional, text } from './define.ts'

const flag = (what: string) => optional(v.pipe(v.boolean('boolean'), v.description(what)))
const noScript = optional(text('only `no`: nothing is run'))

const netdevAdd = defineCommand({
  name: 'netdev_add',
  doc: 'Opens a network, as -netdev does, for a card that device_add plugs in.',
  arguments: {
    'id': text('name of the network'),
    'type': optional(text('`tap` (default), `user` or `stream`')),
    'ifname': optional(text('tap: name of the interface')),
    'fd': optional(text('tap: inherited descriptor')),
    'fds': optional(text('tap: inherited descriptors with colons between')),
    'queues': optional(integer('tap: queue pairs')),
    'vnet_hdr': flag('tap: leave checksums and long segments to the host'),
    'vhost': flag('tap: only false'),
    'script': noScript, 'downscript': noScript,
    'addr': optional(v.pipe(v.record(v.string(), v.unknown(), 'object'), v.description('stream: `{type: "unix", path}`, `{type: "inet", host, port}` or `{type: "fd", str}`'))),
    'server': flag('stream: listen'),
    'reconnect-ms': optional(integer('stream: milliseconds after which a client tries again')),
    'net': optional(text('user: network of the guest')),
    'restrict': flag('user: the guest reaches nothing outside'),
    'hostfwd': optional(text('user: a port of the host that leads to the guest')),
  },
  example: '{"execute":"netdev_add","arguments":{"id":"net1","type":"user"}}',
  async run(args, { vm }) {
    await vm.networks.add(args)
    return {}
  },
})

const netdevDel = defineCommand({
  name: 'netdev_del',
  doc: 'Closes a network that no card uses.',
  arguments: { id: text('name of the network') },
  example: '{"execute":"netdev_del","arguments":{"id":"net1"}}',
  async run({ id }, { vm }) {
    await vm.networks.remove(id)
    return {}
  },
})

const setLink = defineCommand({
  name: 'set_link',
  doc: 'Pulls out the cable of a network card, or plugs it in again; the guest is told.',
  arguments: { name: text('name of the card, or of its network'), up: v.pipe(v.boolean('boolean'), v.description('whether it is plugged in')) },
  example: '{"execute":"set_link","arguments":{"name":"net0","up":false}}',
  run({ name, up }, { vm }) {
    vm.networks.setLink(name, up)
    return {}
  },
})

export const networkCommands = [netdevAdd, netdevDel, setLink] as const
