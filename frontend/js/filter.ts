// `<fsa-filter>`: a search, a filter by source and a count over the rows of variables of the page that it is on. The rows are the
// page's own, which comes and goes with them: here they are only hidden.

import { icon, make } from './dom.ts';
import { type Row, shows, sources, tally } from './filter-words.ts';

export class Filter extends HTMLElement {
  readonly #search = make('input', { class: 'input keyed', type: 'search', placeholder: 'Search by name', 'aria-label': 'Search variables', autocomplete: 'off', spellcheck: 'false' });
  readonly #sources = make('div', { class: 'segmented', role: 'group', 'aria-label': 'Filter by source' });
  readonly #count = make('span', { class: 'count small quiet', role: 'status' });
  /** In a part of the table of its own: the rows' is the page's. */
  readonly #none = make('tbody', { role: 'rowgroup' }, make('tr', { role: 'row' }, make('td', { role: 'cell', colspan: '5' }, 'No variable matches.')));
  /** Of that source alone, unless it is empty. */
  #only = '';
  #drawn = '';
  readonly #watch = new MutationObserver(() => this.#apply());

  connectedCallback(): void {
    const affix = make('span', { class: 'input-affix' }, make('kbd', { class: 'kbd' }, '/'));
    this.#search.addEventListener('input', () => this.#apply());
    this.replaceChildren(make('div', { class: 'input-group' }, icon('search'), this.#search, affix), this.#sources, make('div', { class: 'toolbar-end' }, this.#count));
    // The page puts its parts there one by one.
    queueMicrotask(() => {
      const rows = this.#rows;
      if (rows) this.#watch.observe(rows, { childList: true });
      this.#apply();
    });
  }

  disconnectedCallback(): void {
    this.#watch.disconnect();
  }

  get #rows(): HTMLElement | null | undefined {
    return this.parentElement?.querySelector<HTMLElement>('.data-table tbody');
  }

  #apply(): void {
    const rows = [...(this.#rows?.querySelectorAll<HTMLElement>(':scope > tr') ?? [])].map((element) => ({ element, ...read(element) }));
    if (!rows.some(({ source }) => source === this.#only)) this.#only = '';
    this.#choices(rows);
    let shown = 0;
    for (const row of rows) {
      row.element.hidden = !shows(row, this.#search.value, this.#only);
      if (!row.element.hidden) shown++;
    }
    this.#count.textContent = tally(shown, rows.length);
    if (rows.length > 0 && shown === 0) this.#rows?.after(this.#none);
    else this.#none.remove();
  }

  /** Drawn anew only where it says something else: what has the focus stays. */
  #choices(rows: Row[]): void {
    const all: [string, number][] = [['', rows.length], ...sources(rows)];
    const drawn = JSON.stringify([all, this.#only]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const focused = this.#sources.contains(document.activeElement) ? document.activeElement?.getAttribute('data-source') : undefined;
    this.#sources.replaceChildren(
      ...all.map(([source, count]) =>
        make(
          'button',
          { type: 'button', 'data-source': source, 'aria-pressed': String(source === this.#only), onclick: () => this.#choose(source) },
          `${source || 'All'} `,
          make('span', { class: 'count' }, String(count)),
        ),
      ),
    );
    if (focused != null) this.#sources.querySelector<HTMLElement>(`[data-source="${focused}"]`)?.focus();
  }

  #choose(source: string): void {
    this.#only = source;
    this.#apply();
  }
}

function read(row: HTMLElement): Row {
  return {
    name: row.querySelector('td code')?.textContent ?? '',
    source: row.querySelector('[data-label=Source] .tag')?.textContent?.trim() ?? '',
  };
}
