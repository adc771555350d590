// What was typed and is not yet known to have arrived: numbered, held while away, sent once.
//
// Pure. The queue spans the bytes [acked, end) of this client's input; [acked, sent) is on its way
// over the present connection, [sent, end) is not. A new connection resumes from what the session
// says it took, so that each byte arrives exactly once, whatever was lost in between.

/** Beyond this, typing while away is refused rather than kept: it is a paste nobody waits for. */
const HELD_LIMIT_BYTES = 4 * 1024 * 1024;
/** Sent and not acknowledged at most: a program that reads nothing stops the sending here. */
const IN_FLIGHT_BYTES = 256 * 1024;
const FRAME_BYTES = 32 * 1024;

export class InputQueue {
  #chunks: Uint8Array[] = [];
  #acked = 0;
  #sent = 0;
  #end = 0;

  /** Bytes that the session has not acknowledged. */
  get pending(): number {
    return this.#end - this.#acked;
  }

  get acked(): number {
    return this.#acked;
  }

  /** Bytes on their way over the present connection. */
  get inFlight(): number {
    return this.#sent - this.#acked;
  }

  /** Takes bytes in; `false` if they did not fit and none was taken. */
  push(bytes: Uint8Array): boolean {
    if (this.pending + bytes.length > HELD_LIMIT_BYTES) return false;
    if (bytes.length > 0) this.#chunks.push(bytes);
    this.#end += bytes.length;
    return true;
  }

  /** The next frame to send, if the window allows one. */
  next(): { seq: number; bytes: Uint8Array } | undefined {
    const length = Math.min(this.#end - this.#sent, FRAME_BYTES, IN_FLIGHT_BYTES - this.inFlight);
    if (length <= 0) return undefined;
    const seq = this.#sent;
    this.#sent += length;
    return { seq, bytes: this.#slice(seq - this.#acked, length) };
  }

  /** The session took everything below `offset`. Says whether that was news. */
  ack(offset: number): boolean {
    const taken = Math.min(offset, this.#end) - this.#acked;
    if (taken <= 0) return false;
    this.#drop(taken);
    this.#acked += taken;
    this.#sent = Math.max(this.#sent, this.#acked);
    return true;
  }

  /** A new connection to the same session, which took everything below `offset`. */
  resume(offset: number): void {
    this.ack(offset);
    if (offset !== this.#acked) this.#renumber(offset);
    this.#sent = this.#acked;
  }

  /** Another session: what was held was not meant for it. Returns how many bytes are given up. */
  discard(offset: number): number {
    const dropped = this.pending;
    this.#chunks = [];
    this.#acked = this.#sent = this.#end = offset;
    return dropped;
  }

  /** The session forgot this client (or never knew it): what is held keeps its order from `offset`. */
  #renumber(offset: number): void {
    this.#end = offset + this.pending;
    this.#acked = offset;
  }

  #slice(from: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    let written = 0;
    for (const chunk of this.#chunks) {
      if (from >= chunk.length) {
        from -= chunk.length;
        continue;
      }
      const part = chunk.subarray(from, from + length - written);
      bytes.set(part, written);
      written += part.length;
      from = 0;
      if (written === length) break;
    }
    return bytes;
  }

  #drop(length: number): void {
    while (length > 0) {
      const first = this.#chunks[0]!;
      if (first.length > length) {
        this.#chunks[0] = first.subarray(length);
        return;
      }
      length -= first.length;
      this.#chunks.shift();
    }
  }
}
