// What was typed in a file and not saved when its page was left: kept by this tab until the file is opened again. What was kept first goes first
// where there is no more room. Whoever signs out leaves none.

export interface Draft {
  /** The version that was read before it was typed, and that a save of it replaces. */
  version: string | null;
  text: string;
}

interface Kept extends Draft {
  path: string;
}

type Place = Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>;

/** The most of all together. Browsers give a tab some five million. */
export const MOST_CHARACTERS = 2_000_000;
const KEPT = 'fsa.drafts';

export class Drafts {
  readonly #storage: () => Place;

  /** A browser may refuse its storage, also to whoever only names it. */
  constructor(storage: () => Place) {
    this.#storage = storage;
  }

  /** Keeps that of a path, in place of the one before. Says whether it could be. */
  keep(path: string, { version, text }: Draft): boolean {
    this.take(path);
    if (text.length > MOST_CHARACTERS) return false;
    const kept = [...this.#read(), { path, version, text }];
    while (kept.reduce((sum, one) => sum + one.text.length, 0) > MOST_CHARACTERS) kept.shift();
    while (kept.length > 0 && !this.#write(kept)) kept.shift();
    return kept.length > 0;
  }

  /** That of a path, which is kept no more. */
  take(path: string): Draft | undefined {
    const kept = this.#read();
    const found = kept.find((one) => one.path === path);
    if (!found) return undefined;
    this.#write(kept.filter((one) => one !== found));
    return { version: found.version, text: found.text };
  }

  /**
   * A save that was under way when a page was left went well after all: what is kept of the path goes, or where more than that was typed it is
   * `rest`, from now on. Says whether all of it is saved. Where the path was opened again meanwhile, nothing is kept of it.
   */
  saved(path: string, rest: Draft | undefined): boolean {
    if (this.take(path) && rest) this.keep(path, rest);
    return rest === undefined;
  }

  forget(): void {
    this.#write([]);
  }

  #read(): Kept[] {
    try {
      const kept: unknown = JSON.parse(this.#storage().getItem(KEPT) ?? '[]');
      return Array.isArray(kept) ? kept : [];
    } catch {
      return [];
    }
  }

  #write(kept: readonly Kept[]): boolean {
    try {
      if (kept.length > 0) this.#storage().setItem(KEPT, JSON.stringify(kept));
      else this.#storage().removeItem(KEPT);
      return true;
    } catch {
      return false;
    }
  }
}

type Fetch = (asked: RequestInfo | URL, init?: RequestInit) => Promise<Response>;

/** Those of this tab. */
export const drafts = new Drafts(() => sessionStorage);

/**
 * Listens, once for the page: none outlives a sign-out, whoever of the page asks for it. It is told by its answer, as whoever asked hears it;
 * one that is refused takes none.
 */
export function begin(page: { fetch: Fetch } = globalThis, kept: Pick<Drafts, 'forget'> = drafts): void {
  const send = page.fetch;
  page.fetch = async (asked: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    const answer = await send.call(page, asked, init);
    // A session that is no more is signed out as well.
    if (signsOut(asked) && (answer.ok || answer.status === 401)) kept.forget();
    return answer;
  };
}

function signsOut(asked: RequestInfo | URL): boolean {
  const address = asked instanceof Request ? asked.url : String(asked);
  return /^[^?#]*\/api\/sign-out(?:[?#]|$)/.test(address);
}
