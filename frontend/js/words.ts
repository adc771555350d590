// What the page itself writes into a terminal: dim lines, and the sequences that make room for them.
//
// Pure. The rows above are always kept: what a user could scroll back to stays there.

/**
 * Back to a plain screen from whatever a program left: sequence cut short, alternate screen, colours,
 * palette, mouse, paste and focus modes, scroll region, hidden or odd cursor, held redraws.
 */
export const PLAIN =
  '\x18\x1b[?47l\x1b[!p\x1b[?9;1000;1002;1003;1004;1005;1006;1015;1016;2004;2026l' +
  '\x1b[?25h\x1b[0 q\x1b]104\x07\x1b]110\x07\x1b]111\x07\x1b]112\x07\x1b[0m';

/** A line of its own in the colour of asides. */
export function aside(text: string): string {
  return `\x1b[90m${text}\x1b[0m\r\n`;
}

/** Moves `used` lines of a screen of `rows` up into the rows above, and the cursor to the top. */
export function scrollAway(used: number, rows: number): string {
  return used === 0 ? '\x1b[H' : `\x1b[${rows};1H${'\n'.repeat(used)}\x1b[H`;
}

/** Puts the cursor on the line after `used` lines. */
export function below(used: number): string {
  return used === 0 ? '\x1b[H' : `\x1b[${used};1H\r\n`;
}

/** 9_437_184 as "9.4 MB". */
export function size(bytes: number): string {
  if (bytes < 1000) return bytes === 1 ? '1 byte' : `${bytes} bytes`;
  const [value, unit] = bytes < 1e6 ? [bytes / 1e3, 'kB'] : bytes < 1e9 ? [bytes / 1e6, 'MB'] : [bytes / 1e9, 'GB'];
  return `${value < 9.95 ? value.toFixed(1).replace(/\.0$/, '') : Math.round(value)} ${unit}`;
}

export function skipped(bytes: number): string {
  return `… ${size(bytes)} skipped`;
}

export function newShell(discarded: number, resumable: boolean): string {
  const why = resumable ? 'The shell from before is gone; this is a new one.' : 'The connection was lost and this server cannot resume; this is a new shell.';
  return discarded === 0 ? why : `${why} ${size(discarded)} that you typed meanwhile were not sent.`;
}

export function refused(bytes: number): string {
  return `Not sent: ${size(bytes)}. The terminal is not connected, and too much is held to keep more.`;
}

/** For sandboxes whose image has a terminal and nothing else. */
export function plainTerminal(): string {
  return 'This image serves a plain terminal (ttyd): no uploads, no open ports, and a shell that ends when this page leaves.';
}

/** For servers that cannot hold: nothing is kept while away. */
export function notSent(): string {
  return 'Not connected. What you type now is not sent.';
}

export function foreignSize(columns: number, rows: number): string {
  return `The size is another viewer’s, ${columns} × ${rows}. Type to set it here.`;
}
