// Which clicks lead away from a page within its tab. Pure.

/** What counts of a click. */
export type Click = Pick<MouseEvent, 'button' | 'ctrlKey' | 'metaKey' | 'shiftKey' | 'altKey' | 'defaultPrevented'>;

/** What counts of a link. */
export interface Link {
  /** As the browser reads it; empty where there is none. */
  href: string;
  target: string;
  download: boolean;
}

/** Whether a click on a link leads to another page of the same site. `here` is the address of this one. */
export function leads(click: Click, { href, target, download }: Link, here: string): boolean {
  if (click.defaultPrevented || click.button !== 0 || click.ctrlKey || click.metaKey || click.shiftKey || click.altKey) return false;
  if (href === '' || download || !/^(_self|_parent|_top)?$/i.test(target)) return false;
  try {
    const [to, from] = [new URL(href, here), new URL(here)];
    // A fragment is a place of the same page.
    return to.origin === from.origin && to.pathname + to.search !== from.pathname + from.search;
  } catch {
    return false;
  }
}
