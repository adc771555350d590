// How the terminal looks: the page's CSS variables as options of xterm.js.
//
// The terminal is dark in both themes of the page. A variable that is missing has the value of the
// design; the sixteen colours can each be set as `--term-red`, `--term-bright-red` and so on.

import type { ITheme } from '@xterm/xterm';

/** All but black reach 4.5:1 on the canvas. */
const ANSI = {
  black: '#24272e',
  red: '#ff8d83',
  green: '#6fd79f',
  yellow: '#eab765',
  blue: '#8bb4ff',
  magenta: '#c9a7ff',
  cyan: '#6fd0dd',
  white: '#d8dce3',
  brightBlack: '#8f97a5',
  brightRed: '#ffb0a8',
  brightGreen: '#97e6bb',
  brightYellow: '#f5d08f',
  brightBlue: '#b0cdff',
  brightMagenta: '#dcc6ff',
  brightCyan: '#a0e2ea',
  brightWhite: '#ffffff',
} as const;

export const DEFAULT_FONT_SIZE = 13;

/** Text breathes, and the boxes that programs draw still hold together where WebGL does not join them. */
export const LINE_HEIGHT = 1.2;

export interface Look {
  theme: ITheme;
  fontFamily: string;
  cursorBlink: boolean;
}

export function look(host: HTMLElement): Look {
  const style = getComputedStyle(host);
  const variable = (name: string, otherwise: string) => style.getPropertyValue(name).trim() || otherwise;
  const canvas = variable('--term-canvas', '#0c0d11');
  const ink = variable('--term-ink', '#d8dce3');
  const dim = variable('--term-dim', '#8f97a5');
  const theme: Record<string, string> = {
    background: canvas,
    foreground: ink,
    cursor: variable('--term-cursor', ink),
    cursorAccent: canvas,
    selectionBackground: variable('--term-selection', '#35508a'),
    selectionInactiveBackground: variable('--term-selection-inactive', '#2b3446'),
    scrollbarSliderBackground: variable('--term-scrollbar', '#3a3f4980'),
    scrollbarSliderHoverBackground: variable('--term-scrollbar-hover', '#4a505cb0'),
    scrollbarSliderActiveBackground: variable('--term-scrollbar-active', '#5a616eb0'),
  };
  for (const [name, otherwise] of Object.entries(ANSI)) {
    const kebab = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    theme[name] = variable(`--term-${kebab}`, name === 'brightBlack' ? dim : otherwise);
  }
  return {
    theme: theme as ITheme,
    fontFamily: variable('--font-mono', 'ui-monospace, Menlo, Consolas, "Liberation Mono", monospace'),
    cursorBlink: !reducedMotion(),
  };
}

/** Calls back when what `look` reads may have changed. Returns how to stop. */
export function onLookChange(changed: () => void): () => void {
  const media = matchMedia('(prefers-reduced-motion: reduce)');
  media.addEventListener('change', changed);
  const attributes = new MutationObserver(changed);
  attributes.observe(document.documentElement, { attributeFilter: ['data-theme', 'data-motion'] });
  return () => {
    media.removeEventListener('change', changed);
    attributes.disconnect();
  };
}

export function reducedMotion(): boolean {
  return (
    document.documentElement.dataset['motion'] === 'reduced' ||
    matchMedia('(prefers-reduced-motion: reduce)').matches
  );
}
