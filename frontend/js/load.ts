// A part of these scripts that is loaded when it is wanted: `part(() => import('./palette.ts'))`. As every part of a page it is asked for again where
// it did not come, under another name (app/src/load.js); its own is in the function that esbuild makes of this.

declare global {
  interface Window {
    fsaLoad?: (address: string) => Promise<unknown>;
  }
}

/** What stops a part from being loaded. */
export interface Missing {
  /** The server has it no more: it was updated since the page was loaded. */
  gone?: boolean;
}

const IMPORT = /^\(\)\s*=>\s*import\((["'`])([^"'`]+)\1\)$/;

/** The part; fails where it did not come for some seconds (`Missing`). */
export function part<T>(open: () => Promise<T>): Promise<T> {
  const file = IMPORT.exec(String(open).trim())?.[2];
  if (file === undefined || window.fsaLoad === undefined) return open();
  return window.fsaLoad(new URL(file, import.meta.url).pathname) as Promise<T>;
}
