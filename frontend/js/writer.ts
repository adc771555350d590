// Output on its way into xterm.js, in order, with what must happen between two bytes of it.
//
// xterm.js parses some time after it is written to. Whatever depends on the place in the stream (a
// size that another viewer set, who answers queries, where a replay ends) is queued here between
// the bytes, and `parsed` is the offset that the parser has truly reached, chunk by chunk.

import type { Terminal } from '@xterm/xterm';

/** xterm.js looks at the clock between chunks: at most a few milliseconds of parsing each. */
const CHUNK_BYTES = 64 * 1024;
/** Written to xterm.js and not parsed, at most; the rest waits here, without a copy. */
const IN_XTERM_BYTES = 256 * 1024;

type Step =
  | { kind: 'bytes'; bytes: Uint8Array; end: number | undefined }
  | { kind: 'text'; text: string }
  /** Nothing after it is written before it has run, so that what it returns has its place. */
  | { kind: 'call'; call: () => void | string };

export interface Progress {
  /** A chunk was parsed. `idle`: nothing is left. */
  (idle: boolean): void;
}

export class Writer {
  readonly #terminal: Terminal;
  readonly #progress: Progress;
  readonly #steps: Step[] = [];
  #head = 0;
  #inXterm = 0;
  #stepsInXterm = 0;
  #queuedBytes = 0;
  #calling = false;
  #pumping = false;
  #disposed = false;
  /** The stream offset up to which everything was parsed. */
  parsed = 0;

  constructor(terminal: Terminal, progress: Progress) {
    this.#terminal = terminal;
    this.#progress = progress;
  }

  /** Bytes handed in and not parsed. */
  get backlog(): number {
    return this.#queuedBytes + this.#inXterm;
  }

  get idle(): boolean {
    return this.#head === this.#steps.length && this.#stepsInXterm === 0;
  }

  dispose(): void {
    this.#disposed = true;
    this.#steps.length = this.#head = 0;
  }

  /** Bytes of the stream from `offset` on. No chunk spans `edge`. */
  stream(offset: number, bytes: Uint8Array, edge: number): void {
    let from = 0;
    while (from < bytes.length) {
      let to = Math.min(from + CHUNK_BYTES, bytes.length);
      const cut = edge - offset;
      if (cut > from && cut < to) to = cut;
      this.#push({ kind: 'bytes', bytes: bytes.subarray(from, to), end: offset + to });
      from = to;
    }
    this.#pump();
  }

  /** Bytes that are no part of the stream: a repaint. */
  paint(bytes: Uint8Array): void {
    for (let from = 0; from < bytes.length; from += CHUNK_BYTES) {
      this.#push({ kind: 'bytes', bytes: bytes.subarray(from, from + CHUNK_BYTES), end: undefined });
    }
    this.#pump();
  }

  /** This page's own words; a function is asked for them when everything before was parsed. */
  say(text: string | (() => string)): void {
    if (typeof text === 'string') this.#push({ kind: 'text', text });
    else this.#push({ kind: 'call', call: text });
    this.#pump();
  }

  /** Calls back when everything before was parsed and nothing after. */
  then(call: () => void): void {
    this.#push({ kind: 'call', call });
    this.#pump();
  }

  #push(step: Step): void {
    if (this.#disposed) return;
    if (step.kind === 'bytes') this.#queuedBytes += step.bytes.length;
    this.#steps.push(step);
  }

  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    while (this.#head < this.#steps.length && this.#open()) {
      const step = this.#steps[this.#head++]!;
      if (this.#head === this.#steps.length || this.#head > 256) {
        this.#steps.splice(0, this.#head);
        this.#head = 0;
      }
      this.#write(step);
    }
    this.#pumping = false;
  }

  /** Whether xterm.js may be given more. Out of sight one step at a time: only then it parses at once. */
  #open(): boolean {
    return document.hidden ? this.#stepsInXterm === 0 : this.#inXterm < IN_XTERM_BYTES && !this.#calling;
  }

  #write(step: Step): void {
    const length = step.kind === 'bytes' ? step.bytes.length : 0;
    this.#queuedBytes -= length;
    this.#inXterm += length;
    this.#stepsInXterm += 1;
    this.#calling = step.kind === 'call';
    if (this.#stepsInXterm === 1 && document.hidden && !this.#terminal.hasSelection()) this.#parseAtOnce();
    const data = step.kind === 'bytes' ? step.bytes : step.kind === 'text' ? step.text : '';
    this.#terminal.write(data, () => {
      this.#inXterm -= length;
      this.#stepsInXterm -= 1;
      if (this.#disposed) return;
      if (step.kind === 'bytes' && step.end !== undefined) this.parsed = step.end;
      if (step.kind === 'call') {
        const text = step.call();
        this.#calling = false;
        if (text) this.#write({ kind: 'text', text });
      }
      this.#progress(this.idle);
      // What is written from within xterm.js' own loop waits for its timer.
      if (document.hidden) queueMicrotask(() => this.#pump());
      else this.#pump();
    });
  }

  /**
   * A hidden page's timers fire once a second, later once a minute, and xterm.js parses from
   * timers: a build would stall because nobody looks. It does parse at once what follows a user's
   * input, of which this is the emptiest (and which would clear a selection).
   */
  #parseAtOnce(): void {
    const options = this.#terminal.options;
    const scrolls = options.scrollOnUserInput ?? true;
    options.scrollOnUserInput = false;
    this.#terminal.input('', true);
    options.scrollOnUserInput = scrolls;
  }
}
