// What is replayed after a gap, held until all of it is there.
//
// The word about the gap stands above the replay. Short lines can be more than the scrollback holds,
// which would push that word out, and with it the only sign that something is missing: then the
// beginning of the replay is left out too, and counted with what was skipped.

export interface Part {
  /** Where its first byte is in the stream. */
  offset: number;
  bytes: Uint8Array;
}

const NEWLINE = 10;

export class Gap {
  /** Bytes of the stream that are not shown: those that the session no longer had, and those left out here. */
  skipped: number;
  /** Where the replay begins. */
  readonly start: number;
  readonly #most: number;
  readonly #columns: number;
  readonly #parts: Part[] = [];

  /** `most`: how many lines of `columns` may be kept. */
  constructor(skipped: number, start: number, most: number, columns: number) {
    this.skipped = skipped;
    this.start = start;
    this.#most = most;
    this.#columns = Math.max(columns, 1);
  }

  hold(offset: number, bytes: Uint8Array): void {
    this.#parts.push({ offset, bytes });
  }

  /** What is to be shown, in order; the rest counts as skipped from now on. */
  release(): Part[] {
    const shown: Part[] = [];
    let lines = 0;
    for (let at = this.#parts.length - 1; at >= 0; at--) {
      const part = this.#parts[at]!;
      const cut = this.#cut(part.bytes, this.#most - lines);
      if (cut.from > 0) {
        const left = this.#parts.slice(0, at).reduce((sum, { bytes }) => sum + bytes.length, cut.from);
        this.skipped += left;
        if (cut.from < part.bytes.length) shown.unshift({ offset: part.offset + cut.from, bytes: part.bytes.subarray(cut.from) });
        return shown;
      }
      lines += cut.lines;
      shown.unshift(part);
    }
    return shown;
  }

  /** From where on `bytes` fill at most `most` lines, and how many those are. A long line fills several. */
  #cut(bytes: Uint8Array, most: number): { from: number; lines: number } {
    let lines = 0;
    let end = bytes.length;
    while (end > 0) {
      const newline = bytes.lastIndexOf(NEWLINE, end - 2);
      lines += Math.max(Math.ceil((end - newline - 2) / this.#columns), 1);
      if (lines > most) return { from: end, lines };
      end = newline + 1;
    }
    return { from: 0, lines };
  }
}
