/**
 * The front end's side of a vhost-user connection: requests, their answers, and the end. QEMU's docs/interop/vhost-user.rst, "Communication". Requests are rare (a
 * driver starts or stops its device), so main waits for each answer, for a limited time; a back end that does not answer, or answers nonsense, is as good as gone.
 */
import { MesovirtError } from '../../host/errors.ts'
import { watchFd } from '../../host/fd-watch.ts'
import type { FdWatch } from '../../host/fd-watch.ts'
import { UnixStream } from '../../host/unix-stream.ts'
import { HEADER_BYTES, message, parseReply, REQUESTS, u64 } from './messages.ts'
import type { Request } from './messages.ts'

/** A back end may have to write its data out before a ring stands still. */
export const LIMIT_MS = 5000
const EMPTY = new Uint8Array(0)

export class VhostChannel {
  readonly #stream: UnixStream
  readonly #watch: FdWatch
  readonly #onLost: (why: string) => void
  #acknowledges = false
  #open = true

  /**
   * @param onLost called once, and not after `close`
   * @throws MesovirtError SOCKET_CONNECT, FFI_MISSING
   */
  constructor(path: string, onLost: (why: string) => void) {
    this.#stream = UnixStream.connect(path)
    this.#onLost = onLost
    // Nothing comes unasked: what can be read is the end, or nonsense.
    this.#watch = watchFd(this.#stream.fd, () => this.#lost('it closed the connection'))
    this.#watch.unref()
  }

  get open(): boolean {
    return this.#open
  }

  /** From now on a request that has no answer of its own gets one, so that we know when it has been obeyed. */
  useAcknowledgements(): void {
    this.#acknowledges = true
  }

  /** @returns the number that the back end answers, undefined where it is lost */
  ask(request: Request, payload: Uint8Array = EMPTY): bigint | undefined {
    return this.#try(() => this.#exchange(request, payload, [], false))
  }

  /** A request with an answer of two numbers of 32 bits. */
  askState(request: Request, payload: Uint8Array): readonly [number, number] | undefined {
    const value = this.ask(request, payload)
    return value === undefined ? undefined : [Number(value & 0xffff_ffffn), Number(value >> 32n)]
  }

  /** A request without an answer of its own. @param obeyed wait until the back end has done it. @returns false where it is lost */
  tell(request: Request, payload: Uint8Array = EMPTY, { fds = [], obeyed = false }: { readonly fds?: readonly number[]; readonly obeyed?: boolean } = {}): boolean {
    const result = this.#try(() => {
      if (!obeyed) {
        this.#stream.send(message(request, payload, false), fds, deadline())
        return 0n
      }
      if (this.#acknowledges) return this.#exchange(request, payload, fds, true)
      this.#stream.send(message(request, payload, false), fds, deadline())
      this.#exchange(REQUESTS.getFeatures, EMPTY, [], false)
      return 0n
    })
    if (result !== undefined && result !== 0n) this.#lost(`it refuses request ${request} (${result})`)
    return this.#open
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    this.#watch.close()
    this.#stream.close()
  }

  #exchange(request: Request, payload: Uint8Array, fds: readonly number[], needsReply: boolean): bigint {
    const until = deadline()
    this.#stream.send(message(request, payload, needsReply), fds, until)
    const header = parseReply(this.#stream.receive(HEADER_BYTES, until), request)
    if (typeof header === 'string') throw new MesovirtError('VHOST_USER', header)
    const answer = this.#stream.receive(header.size, until)
    if (answer.length !== u64(0n).length) throw new MesovirtError('VHOST_USER', `its answer to request ${request} has ${answer.length} bytes`)
    return new DataView(answer.buffer).getBigUint64(0, true)
  }

  #try<T>(action: () => T): T | undefined {
    if (!this.#open) return undefined
    try {
      return action()
    } catch (error) {
      if (!(error instanceof MesovirtError)) throw error
      this.#lost(error.message)
      return undefined
    }
  }

  #lost(why: string): void {
    if (!this.#open) return
    this.close()
    this.#onLost(why)
  }
}

function deadline(): number {
  return performance.now() + LIMIT_MS
}
