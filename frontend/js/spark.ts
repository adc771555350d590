// `<fsa-spark data-of="CPU" data-project="ID" data-value="12" data-most="200">`: how a value went in the last three
// minutes, as this browser saw it. It is kept over a reload, and what was not seen is a gap.

import { area, kept, line, said, WINDOW_MS, type Sample } from './samples.ts';

const EVERY_MS = 2_000;
const WIDTH = 48;
const HEIGHT = 14;

export class Spark extends HTMLElement {
  #samples: Sample[] = [];
  #timer: ReturnType<typeof setInterval> | undefined;
  #line: SVGPathElement | undefined;
  #area: SVGPathElement | undefined;

  connectedCallback(): void {
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    svg.classList.add('sparkline');
    svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
    svg.setAttribute('preserveAspectRatio', 'none');
    svg.setAttribute('aria-hidden', 'true');
    this.#line = document.createElementNS('http://www.w3.org/2000/svg', 'path');
    this.#area = document.createElementNS('http://www.w3.org/2000/svg', 'path');
    svg.append(this.#line, this.#area);
    this.setAttribute('role', 'img');
    this.replaceChildren(svg);
    this.#samples = kept(read(this.#place), Date.now());
    this.#take();
    this.#timer = setInterval(() => this.#take(), EVERY_MS);
  }

  disconnectedCallback(): void {
    clearInterval(this.#timer);
  }

  get #place(): string {
    return `fsa.spark.${this.dataset['project']}.${this.dataset['of']}`;
  }

  #take(): void {
    const now = Date.now();
    const value = Number(this.dataset['value']);
    const most = Number(this.dataset['most']);
    // While the page is away from the server, what it shows is old: no sample is taken of it.
    const stale = document.querySelector('.link-banner > *') !== null;
    if (Number.isFinite(value) && !stale) this.#samples = kept([...this.#samples, [now, value]], now);
    try {
      sessionStorage.setItem(this.#place, JSON.stringify(this.#samples));
    } catch {
      // Without room it is kept by this page alone.
    }
    const at = { now, width: WIDTH, height: HEIGHT, most };
    this.#line?.setAttribute('d', line(this.#samples, at));
    this.#area?.setAttribute('d', area(this.#samples, at));
    const words = said(this.dataset['of'] ?? '', this.#samples, WINDOW_MS);
    this.setAttribute('aria-label', words);
    this.title = words;
  }
}

function read(place: string): Sample[] {
  try {
    const samples: unknown = JSON.parse(sessionStorage.getItem(place) ?? '[]');
    return Array.isArray(samples) ? samples.filter((one): one is Sample => Array.isArray(one) && one.every(Number.isFinite)) : [];
  } catch {
    return [];
  }
}
