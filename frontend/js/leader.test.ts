import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Election, type Locks } from './leader.ts';

/** One browser: its clock, its one lock, and its tabs. */
class Browser {
  now = 0;
  readonly tabs: Tab[] = [];
  #held: { lost: () => void } | undefined;
  #queue: (() => void)[] = [];

  open(seen = true): Tab {
    return new Tab(this, seen);
  }

  get leaders(): number[] {
    return this.tabs.flatMap((tab, at) => (tab.leads ? [at] : []));
  }

  locks(tab: Tab): Locks {
    return {
      request: (_, { steal, signal }, hold) =>
        new Promise((resolve, reject) => {
          const grant = (): void => {
            const mine = { lost: () => tab.run(() => reject(new Error('stolen'))) };
            this.#held = mine;
            void hold().then(() => {
              resolve(undefined);
              if (this.#held !== mine) return;
              this.#held = undefined;
              this.#queue.shift()?.();
            });
          };
          if (steal) this.#held?.lost();
          if (steal || !this.#held) return grant();
          this.#queue.push(grant);
          signal?.addEventListener('abort', () => {
            this.#queue = this.#queue.filter((other) => other !== grant);
            reject(signal.reason);
          });
        }),
    };
  }

  /** Seconds, one after the other. Tabs that sleep do nothing. */
  async pass(seconds: number): Promise<void> {
    for (let at = 0; at < seconds; at += 1) {
      this.now += 1_000;
      for (const tab of this.tabs) if (!tab.asleep) tab.election.look();
      await turn();
    }
  }
}

class Tab extends EventTarget {
  readonly name = 'fsa-live-one';
  readonly election: Election;
  readonly #browser: Browser;
  readonly heard: string[] = [];
  leads = false;
  asleep = false;
  #later: (() => void)[] = [];
  #done: () => void = () => undefined;

  constructor(browser: Browser, seen: boolean) {
    super();
    this.#browser = browser;
    browser.tabs.push(this);
    this.addEventListener('message', (event) => {
      const { data } = event as MessageEvent<string>;
      this.heard.push(data);
      if (data === 'stop') this.signOut();
    });
    const lead = (): Promise<void> =>
      new Promise((done) => {
        assert.equal(this.leads, false, 'it leads once');
        this.leads = true;
        this.#done = done;
      });
    this.election = new Election(this, browser.locks(this), lead, () => seen, () => browser.now);
  }

  /** Leads no more. */
  signOut(): void {
    this.leads = false;
    this.#done();
  }

  postMessage(text: string): void {
    for (const other of this.#browser.tabs) {
      if (other !== this) other.run(() => other.dispatchEvent(new MessageEvent('message', { data: text })));
    }
  }

  run(what: () => void): void {
    if (this.asleep) this.#later.push(what);
    else what();
  }

  wake(): void {
    this.asleep = false;
    for (const what of this.#later.splice(0)) what();
  }
}

test('a leader that only has nothing to say goes on', async () => {
  const browser = new Browser();
  browser.open(false);
  browser.open();
  await browser.pass(120);
  assert.deepEqual(browser.leaders, [0]);
});

test('a tab that is looked at takes over from one that sleeps, which steps down when it wakes', async () => {
  const browser = new Browser();
  const [first, hidden, seen] = [browser.open(), browser.open(false), browser.open()];
  await browser.pass(3);
  first.asleep = true;
  await browser.pass(20);
  assert.deepEqual(browser.leaders, [0, 2], 'the first one does not know yet');
  assert.ok(hidden.heard.includes('leads'));
  first.wake();
  await browser.pass(60);
  assert.deepEqual(browser.leaders, [2]);
  assert.ok(seen.heard.includes('hello'), 'it asks for what it has not heard');
  // It stands again, behind whoever stood before.
  seen.signOut();
  await turn();
  assert.deepEqual(browser.leaders, [1]);
  hidden.signOut();
  await turn();
  assert.deepEqual(browser.leaders, [0]);
});

test('a page that is opened while the leader sleeps has news in some seconds', async () => {
  const browser = new Browser();
  const first = browser.open();
  await browser.pass(3);
  first.asleep = true;
  browser.open();
  await browser.pass(7);
  assert.deepEqual(browser.leaders, [0, 1]);
});

test('a tab that slept as well asks anew', async () => {
  const browser = new Browser();
  const [first, other] = [browser.open(), browser.open()];
  await browser.pass(3);
  first.asleep = true;
  await browser.pass(13);
  assert.equal(first.heard.filter((word) => word === 'stop').length, 0);
  other.asleep = true;
  browser.now += 600_000;
  // Its timer comes before what it is told.
  other.asleep = false;
  other.election.look();
  first.wake();
  await browser.pass(60);
  assert.deepEqual(browser.leaders, [0]);
});

test('whoever is signed out stands no more', async () => {
  const browser = new Browser();
  const [first, other] = [browser.open(), browser.open()];
  await browser.pass(1);
  first.signOut();
  await turn();
  assert.deepEqual(browser.leaders, [1]);
  other.signOut();
  await browser.pass(60);
  assert.deepEqual(browser.leaders, []);
});

test('an election that is ended leaves the lock to others', async () => {
  const browser = new Browser();
  const [first, second] = [browser.open(), browser.open()];
  browser.open();
  await browser.pass(1);
  second.election.end();
  first.signOut();
  await turn();
  assert.deepEqual(browser.leaders, [2]);
});
