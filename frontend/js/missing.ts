// What is said where a part of the page did not come that somebody asked for, in the page's own region of notices: what was not done, and the way on. It
// stays until it is answered; nothing is done later by itself.

import { button, icon, make } from './dom.ts';
import { part, type Missing } from './load.ts';

const shown = new Map<string, () => void>();

/** Does something with a part; where that does not come, says what was not done, and offers to try again. */
export async function withPart<T>(open: () => Promise<T>, undone: string, use: (part: T) => unknown): Promise<void> {
  let loaded: T;
  try {
    loaded = await part(open);
  } catch (error) {
    console.error(error);
    say(undone, (error as Missing).gone === true, () => void withPart(open, undone, use));
    return;
  }
  shown.get(undone)?.();
  await use(loaded);
}

function say(undone: string, gone: boolean, again: () => void): void {
  shown.get(undone)?.();
  const close = (): void => {
    const focused = element.contains(document.activeElement);
    shown.delete(undone);
    element.remove();
    if (focused) document.getElementById('main')?.focus();
  };
  const onwards = gone
    ? button('reload', 'Reload', () => location.reload())
    : button('reload', 'Try again', () => {
        close();
        again();
      });
  const away = button('close', '', close, `Dismiss: ${undone}`);
  away.dataset['kind'] = 'quiet';
  const why = gone ? 'The server was updated, and this page is of an older version.' : 'A part of this page did not arrive.';
  const element = make('div', { class: 'toast', 'data-tone': 'bad' }, icon('error'), make('div', {}, make('b', {}, undone), make('p', {}, why)), onwards, away);
  shown.set(undone, close);
  (document.querySelector('.toast-region') ?? document.body).append(element);
}
