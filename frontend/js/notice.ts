// Notices of what an element did, in the page's own region of them (app/src/components/toast.rs): in a corner, for a while, and
// with a way back.

import { button, icon, make, prose } from './dom.ts';

/** How long one stays; not while the pointer or the focus is on it. */
const STAYS_MS = 8_000;
/** How soon one that was held is looked at again. */
const HELD_MS = 500;

/** Says what was done. The answer takes the notice away. `left` is called where the focus was on it when it went. */
export function notice(title: string, text: string, undo: () => void, left: () => void): () => void {
  const close = (): void => {
    const focused = element.contains(document.activeElement);
    clearTimeout(timer);
    element.remove();
    if (focused) left();
  };
  const over = (): void => {
    if (element.matches(':hover, :focus-within')) timer = setTimeout(over, HELD_MS);
    else close();
  };
  const taken = (): void => {
    close();
    undo();
  };
  const back = make('button', { type: 'button', class: 'button', 'data-size': 'small', onclick: taken }, 'Undo');
  const away = button('close', '', close, `Dismiss: ${title}`);
  away.dataset['kind'] = 'quiet';
  const element = make('div', { class: 'toast', 'data-tone': 'good' }, icon('check'), make('div', {}, make('b', {}, title), make('p', {}, prose(text))), back, away);
  let timer = setTimeout(over, STAYS_MS);
  (document.querySelector('.toast-region') ?? document.body).append(element);
  return close;
}
