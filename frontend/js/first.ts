// What the server wrote into an element with the page (server/src/http/first), and what it has to know for that.

/** The data of it, taken once; `undefined` where the server wrote none, or the page was not loaded but moved to. */
export function first<T>(element: Element): T | undefined {
  const island = element.querySelector('script[data-first]');
  island?.remove();
  return island ? (JSON.parse(island.textContent ?? '') as T) : undefined;
}

/** How far this browser's clock is from UTC, in minutes: the server writes times by it. */
export function tellOffset(): void {
  document.cookie = `offset=${-new Date().getTimezoneOffset()}; path=/; max-age=31536000; samesite=lax`;
}
