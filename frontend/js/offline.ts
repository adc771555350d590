// While the page has no connection to its server, what asks something of it rests: every element with `data-asks` is `aria-disabled`, says why in its
// title, and takes no click, nor an Enter in the form around it. Dialogs stay, with what was typed. All comes back by itself.
//
// Whether there is a connection, the top bar says (`.link-note`); pages have it from their stream of events (app/src/live).

const AWAY = 'No connection to the server. This works again as soon as it is back.';
const SIGNED_OUT = 'You are signed out. Sign in again first.';

/** What an element has of its own, and gets back. */
interface Own {
  disabled: string | null;
  title: string | null;
}

const held = new Map<Element, Own>();
const notes = document.getElementsByClassName('link-note');

/** Why nothing can be asked for, if so. */
function away(): string | undefined {
  const note = notes[0];
  if (note?.getAttribute('data-tone') !== 'warn') return undefined;
  return note.textContent?.includes('Signed out') ? SIGNED_OUT : AWAY;
}

function put(element: Element, name: string, value: string | null): void {
  if (value === null) element.removeAttribute(name);
  else element.setAttribute(name, value);
}

function look(records: MutationRecord[]): void {
  const why = away();
  if (why === undefined && held.size === 0) return;
  // What its page made of it meanwhile is its own as well.
  for (const { type, target } of records) {
    const own = type === 'attributes' ? held.get(target as Element) : undefined;
    if (own) own.disabled = (target as Element).getAttribute('aria-disabled');
  }
  if (why === undefined) {
    for (const [element, { disabled, title }] of held) {
      put(element, 'aria-disabled', disabled);
      put(element, 'title', title);
    }
    held.clear();
  } else {
    for (const element of held.keys()) if (!element.isConnected) held.delete(element);
    for (const element of document.querySelectorAll('[data-asks]')) {
      if (!held.has(element)) held.set(element, { disabled: element.getAttribute('aria-disabled'), title: element.getAttribute('title') });
      put(element, 'aria-disabled', 'true');
      put(element, 'title', why);
    }
  }
  // Those were ours.
  changes.takeRecords();
}

const changes = new MutationObserver(look);

/** Listens, once for the page. */
export function begin(): void {
  changes.observe(document.body, { subtree: true, childList: true, attributeFilter: ['data-tone', 'aria-disabled'] });
  addEventListener(
    'click',
    (event) => {
      const asks = event.target instanceof Element ? event.target.closest('[data-asks]') : null;
      if (!asks || !held.has(asks)) return;
      event.preventDefault();
      event.stopImmediatePropagation();
    },
    true,
  );
}
