// `<fsa-doctor>`: asks the server to look, and shows each finding as it comes. The page makes the element, with the
// address in `src`, and `probes` where pods may be started to try things out. `/doctor?project=ID` looks at one project too.
// The server draws what is seen first in the same way, where a look is quick (server/src/http/first/doctor.rs).

import { prose } from './dom.ts';
import { FindingReader, question, summary, type Finding } from './findings.ts';
import { first } from './first.ts';

const WORDS = { ok: 'Well', warn: 'Look', fail: 'Failed' } as const;
const TONES = { ok: 'good', warn: 'warn', fail: 'bad' } as const;

export class Doctor extends HTMLElement {
  #stop: AbortController | undefined;

  connectedCallback(): void {
    const known = first<{ findings: Finding[] }>(this)?.findings;
    const bar = element('div', 'doctor-bar');
    const again = element('button', 'button', 'Look again') as HTMLButtonElement;
    again.type = 'button';
    const state = element('span', 'state-note');
    state.setAttribute('role', 'status');
    bar.append(again);
    const probes = document.createElement('input');
    probes.type = 'checkbox';
    if (this.hasAttribute('probes')) {
      const label = element('label', 'check', '');
      label.append(probes, ' Start pods that try the image, name lookup and network policies (up to two minutes)');
      bar.append(label);
    }
    bar.append(state);
    const list = element('ul', 'findings');
    this.replaceChildren(bar, list);
    again.addEventListener('click', () => void this.#look(list, state, probes.checked));
    if (!known) return void this.#look(list, state, false);
    list.append(...known.map(shown));
    state.textContent = summary(known);
  }

  disconnectedCallback(): void {
    this.#stop?.abort();
  }

  async #look(list: HTMLElement, state: HTMLElement, probes: boolean): Promise<void> {
    this.#stop?.abort();
    const stop = (this.#stop = new AbortController());
    list.replaceChildren();
    state.textContent = 'Looking…';
    const found: Finding[] = [];
    try {
      const address = `${this.getAttribute('src')}${question(location.search, probes)}`;
      const answer = await fetch(address, { headers: { accept: 'application/x-ndjson' }, signal: stop.signal });
      if (!answer.ok || !answer.body) {
        const told = await answer.json().catch(() => undefined);
        state.textContent = told?.details?.message ?? `The doctor cannot look (${answer.status}).`;
        return;
      }
      const lines = new FindingReader();
      const text = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await text.read();
        if (done) break;
        for (const finding of lines.take(value)) {
          found.push(finding);
          list.append(shown(finding));
        }
        state.textContent = `Looking… ${found.length} so far`;
      }
      state.textContent = summary(found);
    } catch {
      if (!stop.signal.aborted) state.textContent = 'The server is away. Look again in a moment.';
    }
  }
}

function shown(finding: Finding): HTMLElement {
  const row = element('li', 'finding');
  row.dataset['verdict'] = finding.verdict;
  const tag = element('span', 'tag', WORDS[finding.verdict]);
  tag.dataset['tone'] = TONES[finding.verdict];
  const text = element('div', 'finding-text');
  const head = element('p', '');
  head.append(element('strong', '', finding.check), ' ', prose(finding.what));
  text.append(head);
  if (finding.verdict !== 'ok') {
    if (finding.why !== '') text.append(said('p', 'quiet small', finding.why));
    if (finding.mend.length > 0) {
      const steps = element('ul', 'steps');
      for (const step of finding.mend) steps.append(said('li', '', step));
      text.append(steps);
    }
    if (finding.detail) {
      const fold = document.createElement('details');
      fold.append(element('summary', 'small', 'What it said'), element('pre', 'small', finding.detail));
      text.append(fold);
    }
  }
  row.append(tag, text);
  return row;
}

/** A sentence in an element of its own. */
function said(name: string, classes: string, sentence: string): HTMLElement {
  const made = element(name, classes);
  made.append(prose(sentence));
  return made;
}

function element(name: string, classes: string, text?: string): HTMLElement {
  const made = document.createElement(name);
  if (classes !== '') made.className = classes;
  if (text !== undefined) made.textContent = text;
  return made;
}
