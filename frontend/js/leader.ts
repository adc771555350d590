// Which tab of a browser holds the stream of events (app/src/live/stream.rs): by a lock that is the user's, and a channel of the same name.
//
// A phone suspends tabs that are out of sight, and one that leads keeps its lock: the others would wait for news until it is looked at again. So a tab
// that is looked at and hears nothing asks whether anybody leads, and without an answer takes the lock. Whoever lost it is told by the browser when it
// wakes, steps down, and stands again behind the others.
//
//     a follower ── ask ──▶ the leader ── leads ──▶ all      both of this module; the stream's own words are signs of life as well
//     this module ── stop ──▶ the stream of this very tab     another one took over

/** The stream's channel. */
export interface Channel extends EventTarget {
  readonly name: string;
  postMessage(text: string): void;
}

/** As `navigator.locks`. */
export interface Locks {
  request(name: string, options: { steal?: boolean; signal?: AbortSignal }, hold: () => Promise<unknown>): Promise<unknown>;
}

/** The server sends something every 8 s at least, and the leader passes it on. A page says that it hears nothing after 20 s. */
const SILENCE_MS = 12_000;
/** One that is only busy answers within that. */
const ANSWER_MS = 5_000;
const LOOK_MS = 1_000;
/** Between two looks: this tab slept as well, and what it is told waits to be read. */
const SLEPT_MS = 3_000;
const SIGNS = ['event', 'beat', 'lost', 'signed-out', 'leads'];

export class Election {
  readonly #channel: Channel;
  readonly #locks: Locks;
  readonly #lead: () => Promise<unknown>;
  readonly #seen: () => boolean;
  readonly #now: () => number;
  #waiting = new AbortController();
  #leads = false;
  /** Another tab took over, and this one has not yet let go. */
  #stepping = false;
  #over = false;
  /** Never, until a leader is heard: one that is there answers the first question. */
  #heardAt = -Infinity;
  #askedAt: number | undefined;
  #lookedAt: number;

  /** `lead` is called each time that this tab is to lead, and kept until it does so no more; `seen` says whether somebody looks at it. */
  constructor(channel: Channel, locks: Locks, lead: () => Promise<unknown>, seen: () => boolean, now: () => number) {
    this.#channel = channel;
    this.#locks = locks;
    this.#lead = lead;
    this.#seen = seen;
    this.#now = now;
    this.#lookedAt = now();
    channel.addEventListener('message', this.#hear);
    void this.#stand();
  }

  /** Stands no more. */
  end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#channel.removeEventListener('message', this.#hear);
    this.#waiting.abort();
  }

  /** To be called about once a second, and when the page comes into sight. */
  look(): void {
    const now = this.#now();
    const slept = now - this.#lookedAt > SLEPT_MS;
    this.#lookedAt = now;
    if (this.#over || this.#leads || this.#stepping || slept || !this.#seen() || now - this.#heardAt < SILENCE_MS) {
      this.#askedAt = undefined;
    } else if (this.#askedAt === undefined) {
      this.#askedAt = now;
      this.#channel.postMessage('ask');
    } else if (now - this.#askedAt >= ANSWER_MS) {
      this.#askedAt = undefined;
      this.#heardAt = now;
      this.#waiting.abort();
      void this.#stand(true);
    }
  }

  #hear = (event: Event): void => {
    const word = String((event as MessageEvent).data).split('\n', 1)[0] ?? '';
    if (this.#leads) {
      if (word === 'ask') this.#channel.postMessage('leads');
    } else if (SIGNS.includes(word)) {
      this.#heardAt = this.#now();
      this.#askedAt = undefined;
    }
  };

  /** Waits for the lock, or takes it, and leads while it has it. */
  async #stand(steal = false): Promise<void> {
    const waiting = new AbortController();
    this.#waiting = waiting;
    const held: { led?: Promise<unknown> } = {};
    const hold = async (): Promise<void> => {
      // It was granted just as it was given up.
      if (waiting.signal.aborted) return;
      this.#leads = true;
      this.#channel.postMessage('leads');
      held.led = this.#lead();
      await held.led;
    };
    try {
      await this.#locks.request(this.#channel.name, steal ? { steal } : { signal: waiting.signal }, hold);
      // It is signed out.
      if (!waiting.signal.aborted) this.end();
      this.#leads = false;
    } catch {
      if (held.led) await this.#stepDown(held.led);
    }
  }

  /** Another tab took the lock. */
  async #stepDown(led: Promise<unknown>): Promise<void> {
    this.#leads = false;
    this.#stepping = true;
    this.#channel.dispatchEvent(new MessageEvent('message', { data: 'stop' }));
    // Until then it would lead twice.
    await led.catch(() => undefined);
    this.#stepping = false;
    this.#heardAt = this.#now();
    // What it has not heard while it slept.
    this.#channel.postMessage('hello');
    if (!this.#over) void this.#stand();
  }
}

let election: Election | undefined;

/** Opens the channel of a name; without such channels, one that nobody hears. */
function join(name: string): Channel {
  if (typeof BroadcastChannel !== 'undefined') return new BroadcastChannel(name);
  return Object.assign(new EventTarget(), { name, postMessage: () => undefined });
}

/** Has this tab lead as soon as no other does; where there are no locks, as on plain HTTP, at once. */
function lead(channel: Channel, leads: () => Promise<unknown>): void {
  const locks = navigator.locks as unknown as Locks | undefined;
  if (!locks || typeof BroadcastChannel === 'undefined') return void leads();
  election?.end();
  election = new Election(channel, locks, leads, () => document.visibilityState === 'visible', Date.now);
}

declare global {
  interface Window {
    fsaJoin?: typeof join;
    fsaLead?: typeof lead;
  }
}

/** What the stream asks for by these names, once for the page. */
export function begin(): void {
  window.fsaJoin = join;
  window.fsaLead = lead;
  const look = (): void => election?.look();
  setInterval(look, LOOK_MS);
  document.addEventListener('visibilitychange', look);
}
