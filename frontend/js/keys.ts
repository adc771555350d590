// Which keys are whose: the page's, the clipboard's, the terminal's.
//
// Pure. A terminal keeps every key but these, Tab and Escape included, and Ctrl C is always an
// interrupt, whatever is selected.

export type KeyOwner =
  | 'terminal'
  /** Bubbles to the page untouched. */
  | 'page'
  /** Leaves the terminal: the page moves the focus. */
  | 'leave'
  | 'copy'
  /** The browser's own paste follows, which needs no permission. */
  | 'paste';

export interface Key {
  key: string;
  code: string;
  ctrlKey: boolean;
  shiftKey: boolean;
  altKey: boolean;
  metaKey: boolean;
}

export function keyOwner(key: Key, mac: boolean): KeyOwner {
  const { code } = key;
  const only = (ctrl: boolean, shift: boolean, alt: boolean, meta: boolean) =>
    key.ctrlKey === ctrl && key.shiftKey === shift && key.altKey === alt && key.metaKey === meta;

  if (only(true, true, false, false)) {
    if (code === 'Escape') return 'leave';
    if (code === 'Backquote') return 'page';
    if (code === 'KeyC') return 'copy';
    if (code === 'KeyV') return 'paste';
  }
  if (only(true, false, false, false) && code === 'Insert') return 'copy';
  if (only(false, true, false, false) && code === 'Insert') return 'paste';
  if (only(false, false, true, false) && /^Digit[1-9]$/.test(code)) return 'page';
  // Command C and V are the browser's on a Mac; xterm.js lets them be.
  if (mac && key.metaKey && (code === 'KeyC' || code === 'KeyV')) return code === 'KeyC' ? 'copy' : 'paste';
  return 'terminal';
}

/** Whether a key leads into the search of a page. With Shift as well: many keyboards have the slash there. */
export function leadsIntoSearch(key: Key): boolean {
  return key.key === '/' && !key.ctrlKey && !key.altKey && !key.metaKey;
}

/** Whether a key sends the form around it, also from a field in which Enter begins a line. */
export function sendsForm(key: Key): boolean {
  return key.key === 'Enter' && key.ctrlKey !== key.metaKey && !key.shiftKey && !key.altKey;
}

/** What a key of the on-screen row sends. */
export function keySequence(name: string, applicationCursor: boolean): string {
  const cursor = applicationCursor ? '\x1bO' : '\x1b[';
  switch (name) {
    case 'Escape':
      return '\x1b';
    case 'Tab':
      return '\t';
    case 'Enter':
      return '\r';
    case 'ArrowUp':
      return cursor + 'A';
    case 'ArrowDown':
      return cursor + 'B';
    case 'ArrowRight':
      return cursor + 'C';
    case 'ArrowLeft':
      return cursor + 'D';
    default:
      return '';
  }
}

/** The control character of what was typed with Ctrl held on the on-screen row; others stay. */
export function withCtrl(data: string): string {
  if (data.length !== 1) return data;
  if (data === ' ') return '\0';
  if (data === '?') return '\x7f';
  const code = data.toUpperCase().charCodeAt(0);
  return code >= 0x40 && code <= 0x5f ? String.fromCharCode(code - 0x40) : data;
}
