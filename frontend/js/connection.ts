// One viewer's connection to one terminal session: opened, lost, and resumed for ever.
//
// Knows the protocol and the clock, not the screen. What it promises: every output byte is handed
// to `events` once and in order, every input byte reaches the session once and in order, and when
// it cannot be so (other session, too much output missed) an event says it.
//
//     connecting ──hello──▶ live ──lost──▶ reconnecting ──hello──▶ live
//          │                  │ '7', 4404      │  4503, 4401, 4403, 4404
//          ▼                  ▼                ▼
//     unavailable           ended ──restart()──▶ connecting
//
// `replaced` is said once, between reconnecting and live, when the session of before is gone and
// another one of its name has taken its place.

import {
  decode,
  encodeConsumed,
  encodeFirst,
  encodeInput,
  encodeResize,
  type Hello,
  PAUSE,
  type Protocol,
  RESUME,
  SUBPROTOCOLS,
} from './protocol.ts';
import { InputQueue } from './input.ts';
import { randomId } from './insecure.ts';

export type State = 'connecting' | 'live' | 'reconnecting' | 'ended' | 'replaced' | 'unavailable';

export interface StateChange {
  state: State;
  /** When this state began, in ms since the epoch. */
  since: number;
  /** How long until the next try, from now. Absent where none is planned. */
  retryInMs?: number;
  /** Tries since the connection was last live. */
  attempt: number;
  /** A sentence for the user, where there is more to say than the state. */
  message?: string;
  /** Why, as the server closed: 4401 signed out, 4403 read only, 4404 no such project, 4503 sandbox not running. */
  code?: number;
  /** Typed and not yet delivered. */
  heldBytes?: number;
  /** Last measured round trip to the session. */
  rttMs?: number;
}

export interface Events {
  state(change: StateChange): void;
  /** The session answered. `resumed`: it is the one this connection had before. */
  hello(hello: Hello, resumed: boolean, discardedBytes: number): void;
  output(offset: number, bytes: Uint8Array): void;
  repaint(offset: number, bytes: Uint8Array): void;
  size(columns: number, rows: number): void;
  /** Whether this viewer answers queries and sets the size, from here in the stream on. */
  primary(primary: boolean): void;
  title(title: string): void;
  ended(code: number | null): void;
  /** Typing was not kept, because too much is held already. */
  refused(bytes: number): void;
}

/** The part of WebSocket that is used, so that tests can stand one in. */
export interface Socket {
  binaryType: string;
  readonly protocol: string;
  /** 0 while it is being opened, as of a WebSocket. */
  readonly readyState: number;
  onopen: (() => void) | null;
  onmessage: ((event: { data: ArrayBuffer | string }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  send(data: Uint8Array): void;
  close(code?: number): void;
}

export interface Options {
  /** Without a query. */
  url: string;
  session: string;
  columns: number;
  rows: number;
  open(url: string, protocols: readonly string[]): Socket;
  random?: () => number;
}

export const FIRST_RETRY_MS = 250;
export const LAST_RETRY_MS = 5_000;
/** A sandbox that does not run is asked for rarely: the page pokes when it starts. */
const UNAVAILABLE_RETRY_MS = 10_000;
/** From opening to hello. A browser alone would wait two minutes on a dead route. */
const HELLO_DEADLINE_MS = 10_000;
/** A connection that lived shorter than this did not work: the next wait grows. */
const PROVEN_MS = 1_000;
/** `readyState` of a socket that is being opened. */
const CONNECTING = 0;
/** `readyState` of one that takes frames. */
const OPEN = 1;
/** Typed and not acknowledged for so long: the connection is dead though nobody said so. */
const ACK_DEADLINE_MS = 5_000;
const LAST_ACK_DEADLINE_MS = 60_000;
/** Heard from so recently, a connection needs no probe. */
const QUIET_MS = 10_000;
/** After sleep or a change of network: how long the probe may take. */
const PROBE_DEADLINE_MS = 3_000;
/** A round trip is measured with each key; it is told this often. */
const RTT_EVERY_MS = 1_000;
const NOTHING = new Uint8Array(0);

/** The wait before try number `attempt` (from 1), with `random` in [0, 1) as jitter. */
export function backoffMs(attempt: number, random: number): number {
  const base = Math.min(FIRST_RETRY_MS * 2 ** (attempt - 1), LAST_RETRY_MS);
  return Math.round(base * (0.75 + random * 0.5));
}

export class Connection {
  readonly #options: Options;
  readonly #events: Events;
  readonly #random: () => number;
  /** Names this viewer to the session across its connections. */
  readonly #client = randomId();
  readonly #input = new InputQueue();

  #socket: Socket | undefined;
  #protocol: Protocol = 'fsa-tty.v1';
  #state: State = 'connecting';
  #since = Date.now();
  #attempt = 0;
  #message: string | undefined;
  #code: number | undefined;
  #retryAt: number | undefined;
  #rttMs: number | undefined;
  #rttToldAt = 0;

  /** The session's id, once known. */
  #id: string | undefined;
  /** Every output byte below this was handed on. */
  #received = 0;
  #restart = false;
  /** Of a session that has ended: how, and where its last output ends. */
  #last: { code: number; replayUntil: number; repainted: boolean } | undefined;
  #liveSince = 0;
  #heardAt = 0;
  #columns: number;
  #rows: number;
  #disposed = false;

  #retryTimer: Timer;
  #helloTimer: Timer;
  #ackTimer: Timer;
  #ackDeadlineMs = ACK_DEADLINE_MS;
  #timing: { seq: number; at: number } | undefined;

  constructor(options: Options, events: Events) {
    this.#options = options;
    this.#events = events;
    this.#random = options.random ?? Math.random;
    this.#columns = options.columns;
    this.#rows = options.rows;
  }

  get state(): State {
    return this.#state;
  }

  get live(): boolean {
    return this.#state === 'live';
  }

  get protocol(): Protocol {
    return this.#protocol;
  }

  get heldBytes(): number {
    return this.#input.pending;
  }

  /** Opens the first connection. Called once. */
  start(): void {
    this.#enter('connecting');
    this.#connect();
  }

  /** Leaves; the session goes on. */
  dispose(): void {
    this.#disposed = true;
    this.#drop(1000);
    clearTimeout(this.#retryTimer);
  }

  /** What the user typed. While away it is held. */
  type(bytes: Uint8Array): void {
    if (this.#state === 'ended') return;
    if (this.#protocol === 'tty') {
      // No numbers, so no way to know what arrived: sent now or, said visibly, not at all.
      if (!this.live || !this.#send(encodeInput('tty', 0, bytes))) this.#events.refused(bytes.length);
      return;
    }
    if (!this.#input.push(bytes)) {
      this.#events.refused(bytes.length);
      return;
    }
    if (this.live) this.#flush();
    else this.#report();
  }

  /** What the terminal itself has to say (an answer, a focus report): now or never. */
  reply(bytes: Uint8Array): void {
    if (!this.live) return;
    if (this.#protocol === 'tty') this.#send(encodeInput('tty', 0, bytes));
    else this.type(bytes);
  }

  /** This viewer's size; told to the session if `announce`, else kept for the next hello. */
  resize(columns: number, rows: number, announce: boolean): void {
    this.#columns = columns;
    this.#rows = rows;
    if (announce && this.live) this.#send(encodeResize(columns, rows));
  }

  /** The screen has taken all output below `offset`: the session may send more. */
  consumed(offset: number): void {
    if (this.live && this.#protocol !== 'tty') this.#send(encodeConsumed(offset));
  }

  pause(paused: boolean): void {
    if (this.live) this.#send(paused ? PAUSE : RESUME);
  }

  /** Tries now, where a try is due later or was given up. */
  poke(): void {
    if (this.#disposed || this.#state === 'live' || this.#state === 'ended') return;
    if (this.#socket && this.#state !== 'unavailable') return;
    this.#connect();
  }

  /** The network may have changed under a connection that looks well: finds out, if it did (`changed`) or nothing was heard for a while. */
  probe(changed = false): void {
    if (this.#state !== 'live') return this.poke();
    if (this.#protocol === 'tty' || (!changed && Date.now() - this.#heardAt < QUIET_MS)) return;
    // Input without bytes is acknowledged like any other and types nothing.
    this.#send(encodeInput(this.#protocol, this.#input.acked + this.#input.inFlight, NOTHING));
    this.#ackDeadlineMs = PROBE_DEADLINE_MS;
    this.#watchAck(true);
  }

  /** After `ended`: a new shell under the same name. */
  restart(): void {
    if (this.#state !== 'ended') return;
    this.#drop(1000);
    this.#restart = true;
    this.#id = undefined;
    this.#received = 0;
    this.#last = undefined;
    this.#input.discard(this.#input.acked);
    this.#attempt = 0;
    this.#enter('connecting');
    this.#connect();
  }

  #connect(): void {
    this.#drop(1000);
    clearTimeout(this.#retryTimer);
    this.#retryAt = undefined;
    this.#attempt += 1;
    let socket: Socket;
    try {
      socket = this.#options.open(this.#address(), SUBPROTOCOLS);
    } catch (error) {
      // Only an address that is none gets here; it will not mend by itself, but a poke may.
      this.#enter('unavailable', error instanceof Error ? error.message : String(error));
      return;
    }
    let openedAt = Date.now();
    this.#socket = socket;
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      openedAt = Date.now();
      this.#protocol = socket.protocol === 'fsa-tty.v1' ? 'fsa-tty.v1' : 'tty';
      socket.send(encodeFirst(this.#protocol, this.#columns, this.#rows, this.#client));
      if (this.#protocol === 'tty') this.#greetTty();
    };
    socket.onmessage = ({ data }) => this.#receive(data, openedAt);
    socket.onclose = ({ code, reason }) => this.#lost(code, reason);
    this.#helloTimer = setTimeout(() => {
      this.#drop(4000);
      this.#lost(1006, '');
    }, HELLO_DEADLINE_MS);
    if (this.#state === 'reconnecting') this.#report();
  }

  #address(): string {
    const query = new URLSearchParams({ session: this.#options.session, offset: String(this.#received) });
    if (this.#id !== undefined) query.set('id', this.#id);
    if (this.#restart) query.set('restart', '1');
    return `${this.#options.url}?${query}`;
  }

  #receive(data: ArrayBuffer | string, openedAt: number): void {
    this.#heardAt = Date.now();
    let frame;
    try {
      frame = decode(this.#protocol, data);
    } catch (error) {
      console.warn('terminal: ', error);
      this.#drop(4000);
      this.#lost(1006, '');
      return;
    }
    switch (frame?.kind) {
      case 'hello':
        return this.#greet(frame.hello, Date.now() - openedAt);
      case 'output':
        return this.#output(frame.offset, frame.bytes);
      case 'repaint':
        this.#received = frame.offset;
        this.#events.repaint(frame.offset, frame.bytes);
        return this.#endIfReplayed();
      case 'input-ack':
        return this.#acknowledged(frame.offset);
      case 'status':
        if (frame.size) this.#events.size(frame.size.columns, frame.size.rows);
        if (frame.primary !== undefined) this.#events.primary(frame.primary);
        return;
      case 'title':
        return this.#events.title(frame.title);
      case 'ended':
        return this.#ended(frame.code);
    }
  }

  #greet(hello: Hello, tookMs: number): void {
    const known = this.#id !== undefined;
    const resumed = known && !hello.newSession && hello.session === this.#id;
    let discarded = 0;
    if (known && !resumed) {
      discarded = this.#input.discard(hello.inputAck);
      this.#enter('replaced');
    } else {
      this.#input.resume(hello.inputAck);
    }
    this.#id = hello.session;
    this.#received = hello.start;
    this.#restart = false;
    this.#rttMs ??= tookMs;
    this.#events.hello(hello, resumed, discarded);
    this.#lively();
    this.#last =
      hello.exited === null
        ? undefined
        : { code: hello.exited, replayUntil: hello.replayUntil, repainted: hello.skipped > 0 };
    if (this.#last && !this.#last.repainted) this.#endIfReplayed();
    this.#flush();
  }

  /** ttyd says no hello; each connection is a shell of its own. */
  #greetTty(): void {
    const known = this.#id !== undefined;
    this.#id = 'tty';
    this.#received = 0;
    const discarded = this.#input.discard(0);
    const hello: Hello = {
      session: 'tty',
      name: this.#options.session,
      start: 0,
      skipped: 0,
      inputAck: 0,
      columns: this.#columns,
      rows: this.#rows,
      replayUntil: 0,
      primary: true,
      exited: null,
      newSession: known && !this.#restart,
    };
    this.#restart = false;
    this.#events.hello(hello, false, discarded);
    this.#lively();
  }

  #lively(): void {
    clearTimeout(this.#helloTimer);
    this.#liveSince = Date.now();
    this.#timing = undefined;
    this.#enter('live');
  }

  #output(offset: number, bytes: Uint8Array): void {
    if (this.#protocol === 'tty') offset = this.#received;
    // A byte that was handed on is not handed on again, whatever the server repeats.
    if (offset < this.#received) {
      bytes = bytes.subarray(Math.min(this.#received - offset, bytes.length));
      offset = this.#received;
    }
    if (bytes.length === 0) return;
    this.#received = offset + bytes.length;
    this.#events.output(offset, bytes);
    if (this.#last && !this.#last.repainted) this.#endIfReplayed();
  }

  /** A session that had ended before is said to have ended once its last output is here. */
  #endIfReplayed(): void {
    if (this.#last && this.#received >= this.#last.replayUntil) this.#ended(this.#last.code);
  }

  #acknowledged(offset: number): void {
    const progress = this.#input.ack(offset);
    if (this.#timing && offset >= this.#timing.seq) {
      this.#rttMs = Date.now() - this.#timing.at;
      this.#timing = undefined;
      if (Date.now() - this.#rttToldAt >= RTT_EVERY_MS) this.#report();
    }
    if (progress || this.#ackDeadlineMs === PROBE_DEADLINE_MS) this.#ackDeadlineMs = ACK_DEADLINE_MS;
    this.#watchAck(false);
    this.#flush();
  }

  #flush(): void {
    let frame;
    while ((frame = this.#input.next())) {
      this.#timing ??= { seq: frame.seq + frame.bytes.length, at: Date.now() };
      this.#send(encodeInput(this.#protocol, frame.seq, frame.bytes));
    }
    if (this.#input.inFlight > 0 && this.#ackTimer === undefined) this.#watchAck(true);
  }

  #watchAck(expected: boolean): void {
    clearTimeout(this.#ackTimer);
    this.#ackTimer = undefined;
    if (!expected && this.#input.inFlight === 0) return;
    this.#ackTimer = setTimeout(() => {
      // A program that reads nothing looks the same: ask less and less often.
      const deadline = this.#ackDeadlineMs * 2;
      this.#drop(4000);
      this.#lost(1006, '', true);
      this.#ackDeadlineMs = Math.min(deadline, LAST_ACK_DEADLINE_MS);
    }, this.#ackDeadlineMs);
  }

  #ended(code: number | null): void {
    if (this.#state === 'ended') return;
    this.#enter('ended', endedMessage(code));
    this.#events.ended(code);
  }

  #lost(code: number, reason: string, atOnce = false): void {
    const { live } = this;
    const lived = live ? Date.now() - this.#liveSince : 0;
    this.#drop();
    if (this.#disposed || this.#state === 'ended') return;
    if (lived > 0 && code === 1000 && this.#protocol === 'tty') return this.#ended(null);
    // Of a session that has said hello: somebody ended it. Before that, and to ttyd, which says none: there is no such project.
    if (live && code === 4404 && this.#protocol !== 'tty') return this.#ended(null);
    if (lived >= PROVEN_MS) this.#attempt = 0;
    switch (code) {
      case 4401:
        return this.#enter('unavailable', reason || 'You are signed out. The session keeps running; sign in to go on.', code);
      case 4403:
        return this.#enter('unavailable', reason || 'This sign-in may look and not type: it opens no terminal.', code);
      case 4404:
        return this.#enter('unavailable', reason || 'There is no such project, or it is not yours.', code);
      case 4503:
        this.#enter('unavailable', reason || 'The sandbox is not running.', code);
        return this.#retryIn(Math.round(UNAVAILABLE_RETRY_MS * (0.75 + this.#random() * 0.5)));
    }
    atOnce ||= code === 4409 && lived >= FIRST_RETRY_MS;
    if (this.#state !== 'connecting' || this.#attempt > 0) {
      this.#enter(this.#id === undefined ? 'connecting' : 'reconnecting', reason || undefined);
    }
    if (atOnce) this.#connect();
    else this.#retryIn(backoffMs(Math.max(this.#attempt, 1), this.#random()));
  }

  #retryIn(delayMs: number): void {
    this.#retryAt = Date.now() + delayMs;
    this.#retryTimer = setTimeout(() => this.#connect(), delayMs);
    this.#report();
  }

  /** Lets go of the present socket; nothing it still says is heard. */
  #drop(code?: number): void {
    clearTimeout(this.#helloTimer);
    clearTimeout(this.#ackTimer);
    this.#ackTimer = undefined;
    const socket = this.#socket;
    if (!socket) return;
    this.#socket = undefined;
    socket.onopen = socket.onmessage = socket.onclose = null;
    if (code === undefined) return;
    // Closed before it is open, a browser reports a failed connection on its console.
    if (socket.readyState === CONNECTING) socket.onopen = () => socket.close(code);
    else socket.close(code);
  }

  /** `false`: not sent. A socket that is closing says so in a moment, and what has a number is said again on the next one. */
  #send(frame: Uint8Array): boolean {
    if (this.#socket?.readyState !== OPEN) return false;
    this.#socket.send(frame);
    return true;
  }

  #enter(state: State, message?: string, code?: number): void {
    if (state !== this.#state) this.#since = Date.now();
    this.#state = state;
    this.#message = message;
    this.#code = code;
    this.#report();
  }

  #report(): void {
    if (this.#disposed) return;
    const change: StateChange = { state: this.#state, since: this.#since, attempt: this.#attempt };
    if (this.#retryAt !== undefined) change.retryInMs = Math.max(0, this.#retryAt - Date.now());
    if (this.#message !== undefined) change.message = this.#message;
    if (this.#code !== undefined) change.code = this.#code;
    if (this.#input.pending > 0 && !this.live) change.heldBytes = this.#input.pending;
    if (this.#rttMs !== undefined) {
      change.rttMs = this.#rttMs;
      this.#rttToldAt = Date.now();
    }
    this.#events.state(change);
  }
}

export function endedMessage(code: number | null): string {
  const how = code === null ? '' : ` (${code})`;
  return `The shell ended${how}. Press Enter to start a new one.`;
}

type Timer = ReturnType<typeof setTimeout> | undefined;
