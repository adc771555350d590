// Notices of what an element did, in the page's own region of them (app/src/components/toast.rs): in a corner, for a while, and
// with a way back, or to stop it, where there is one.

import { button, icon, make, prose } from './dom.ts';

/** How long one stays; not while the pointer or the focus is on it. */
const STAYS_MS = 8_000;
/** How soon one that was held is looked at again. */
const HELD_MS = 500;

/** How it went, and the icon that says so. */
const ICONS = { good: 'check', warn: 'warning', bad: 'error', info: 'upload' } as const;
type Tone = keyof typeof ICONS;

/** What a notice offers. */
interface Offer {
  text: string;
  run: () => void;
}

export interface News {
  title: string;
  text: string;
  tone: Exclude<Tone, 'info'>;
}

/** Says what was done. The answer takes the notice away. `left` is called where the focus was on it when it went. */
export function notice(title: string, text: string, undo: () => void, left: () => void): () => void {
  return show('good', title, text, { text: 'Undo', run: undo }, left);
}

/** Says what became of something whose page may be left by now. What went wrong stays until it is dismissed. The answer takes the notice away. */
export function news({ title, text, tone }: News): () => void {
  return show(tone, title, text, undefined, () => document.getElementById('main')?.focus());
}

/** Says what is under way, and offers to stop it; stays until it is dismissed. The answer takes the notice away. */
export function going(title: string, text: string, stop: () => void): () => void {
  return show('info', title, text, { text: 'Stop', run: stop }, () => document.getElementById('main')?.focus());
}

function show(tone: Tone, title: string, text: string, offer: Offer | undefined, left: () => void): () => void {
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
    offer?.run();
  };
  const offered = offer && make('button', { type: 'button', class: 'button', 'data-size': 'small', onclick: taken }, offer.text);
  const away = button('close', '', close, `Dismiss: ${title}`);
  away.dataset['kind'] = 'quiet';
  const element = make('div', { class: 'toast', 'data-tone': tone }, icon(ICONS[tone]), make('div', {}, make('b', {}, title), make('p', {}, prose(text))), offered, away);
  let timer: ReturnType<typeof setTimeout> | undefined = tone === 'bad' || tone === 'info' ? undefined : setTimeout(over, STAYS_MS);
  (document.querySelector('.toast-region') ?? document.body).append(element);
  return close;
}
