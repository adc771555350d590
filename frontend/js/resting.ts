// What a page shows in the place of something that only a sandbox that runs has: in which phase it is instead, and the button that starts it.

import { asks, button, icon, make } from './dom.ts';
import { restOf } from './sandbox-words.ts';
import { projectHere, withPalette } from './shortcuts.ts';

/** The phase of the page's sandbox, as the top bar has it; the list of all sandboxes there has pills of its own. */
export function phase(): string {
  return document.querySelector<HTMLElement>('.top-bar .breadcrumb > [role=status] .phase-pill')?.dataset['phase'] ?? '';
}

/** Whether it does not run, and has to be started or is about to run. */
export function rests(): boolean {
  return !['', 'running', 'updating'].includes(phase());
}

/**
 * The present of it: `shown` itself while the phase is the one that it was made for. `about` says what comes in its place. The focus goes from what
 * was shown to what takes its place, which is in the page once `show` was called.
 */
export function resting(shown: HTMLElement | null, about: string, show: (element: HTMLElement) => void): void {
  const now = phase();
  if (shown?.dataset['restsIn'] === now) return;
  const focused = shown?.contains(document.activeElement);
  const { heading, start } = restOf(now);
  const begin = button('play', 'Start', () => {
    void run(begin);
  });
  asks(begin).dataset['kind'] = 'primary';
  const title = make('h2', { tabindex: '-1' }, heading);
  const glyph = make('span', { class: 'empty-glyph' }, icon(`phase-${now || 'stopped'}`));
  show(make('div', { class: 'empty-state fill resting', 'data-rests-in': now }, glyph, title, make('p', {}, about), start && begin));
  if (focused) (start ? begin : title).focus();
}

/** Starts it, as the palette and the keys do. */
async function run(button: HTMLButtonElement): Promise<void> {
  const project = projectHere();
  if (!project) return;
  button.setAttribute('aria-busy', 'true');
  try {
    await withPalette('The sandbox was not asked to start', ({ press }) => press(project, 'start'));
  } finally {
    button.removeAttribute('aria-busy');
  }
}
