// `<fsa-log>`: a log that is read and followed. The page makes the element, with its address in `src` and
// the names of the logs in `sources` (`sandbox:Sandbox,past:Past run`); this is all of what it does. The server draws what is seen
// first in the same way (server/src/http/first/log.rs).

import stripAnsi from 'strip-ansi';
import { first } from './first.ts';
import { copy as toClipboard } from './insecure.ts';
import { LineReader, type Line } from './lines.ts';

/** Lines kept on the page. */
const MOST = 5_000;
/** How long after the end of a stream the next try is. */
const AGAIN_MS = 1_500;
/** When nothing more comes for so long, a log is there as far as it goes. */
const QUIET_MS = 150;

export class Log extends HTMLElement {
  #stop: AbortController | undefined;

  connectedCallback(): void {
    const known = first<Line[]>(this) ?? [];
    const sources = (this.getAttribute('sources') ?? 'sandbox:Sandbox').split(',').map((one) => one.split(':') as [string, string]);
    const select = document.createElement('select');
    select.className = 'select';
    select.setAttribute('aria-label', 'Which log');
    for (const [value, text] of sources) select.append(new Option(text, value));
    const state = document.createElement('span');
    state.className = 'state-note small';
    state.setAttribute('role', 'status');
    const copy = document.createElement('button');
    copy.type = 'button';
    copy.className = 'button';
    copy.dataset['size'] = 'small';
    copy.textContent = 'Copy';
    const bar = document.createElement('div');
    bar.className = 'log-bar';
    bar.append(select, state, copy);
    const body = document.createElement('pre');
    body.className = 'log-lines';
    body.tabIndex = 0;
    body.setAttribute('role', 'log');
    body.setAttribute('aria-label', 'Log');
    body.setAttribute('aria-live', 'off');
    this.replaceChildren(bar, body);
    copy.addEventListener('click', () => void toClipboard(body.innerText).then((copied) => (state.textContent = copied ? 'Copied' : 'Not copied: select it and copy it')));
    select.addEventListener('change', () => this.#follow(select.value, body, state, []));
    body.append(...known.map(line));
    body.scrollTop = body.scrollHeight;
    this.#follow(select.value, body, state, known);
  }

  disconnectedCallback(): void {
    this.#stop?.abort();
  }

  /** `known` is shown already: what the page came with. */
  #follow(source: string, body: HTMLElement, state: HTMLElement, known: Line[]): void {
    this.#stop?.abort();
    const stop = new AbortController();
    this.#stop = stop;
    void (async () => {
      for (let kept = known; !stop.signal.aborted; kept = []) {
        if (kept.length === 0) body.replaceChildren();
        state.textContent = 'Reading…';
        const said = await this.#read(source, body, state, stop.signal, kept).catch(() => 'Away. Trying again…');
        if (stop.signal.aborted) return;
        state.textContent = said;
        if (body.childElementCount === 0 && said === ENDED) {
          body.append(line({ at: null, text: EMPTY }));
          return;
        }
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
    })();
  }

  async #read(source: string, body: HTMLElement, state: HTMLElement, signal: AbortSignal, known: Line[]): Promise<string> {
    const address = `${this.getAttribute('src')}?source=${source}&follow=true`;
    const answer = await fetch(address, { headers: { accept: 'application/x-ndjson' }, signal });
    if (!answer.ok || !answer.body) {
      const told = await answer.json().catch(() => undefined);
      return told?.details?.message ?? `The log cannot be read (${answer.status}).`;
    }
    state.textContent = 'Live';
    const lines = new LineReader();
    const text = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    const show = (fresh: Line[]): void => {
      const below = body.scrollHeight - body.scrollTop - body.clientHeight < 40;
      body.append(...fresh.map(line));
      while (body.childElementCount > MOST) body.firstElementChild?.remove();
      if (below) body.scrollTop = body.scrollHeight;
    };
    // The log comes from its beginning. What is known of its end stays until it has come so far.
    const last = known.at(-1);
    let held: Line[] | undefined = last ? [] : undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const release = (): void => {
      clearTimeout(timer);
      if (!held) return;
      const all = held;
      held = undefined;
      body.replaceChildren();
      show(all);
    };
    try {
      for (;;) {
        const { done, value } = await text.read();
        if (done) {
          release();
          return ENDED;
        }
        const fresh = lines.take(value);
        if (!held) {
          show(fresh);
          continue;
        }
        held.push(...fresh);
        clearTimeout(timer);
        if (fresh.some(({ at, text }) => at === last?.at && text === last?.text)) release();
        else timer = setTimeout(release, QUIET_MS);
      }
    } finally {
      clearTimeout(timer);
    }
  }
}

const ENDED = 'Nothing more comes';
const EMPTY = 'There is nothing in this log.';

function line({ at, text }: Line): HTMLElement {
  const row = document.createElement('div');
  if (at) {
    const time = document.createElement('time');
    time.dateTime = at;
    time.title = at;
    time.textContent = new Date(at).toLocaleTimeString([], { hour12: false });
    row.append(time, ' ');
  }
  row.append(stripAnsi(text), '\n');
  return row;
}
