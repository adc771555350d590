// Asking the server for JSON, and its errors in its own words.

/** What the server refused, in words for a person. */
export class Refused extends Error {
  readonly code: string;
  readonly steps: string[];
  /** The field of what was sent that it is about, as the API calls it. */
  readonly field: string | undefined;

  constructor(message: string, code: string, steps: string[], field?: string) {
    super(message);
    this.code = code;
    this.steps = steps;
    this.field = field;
  }
}

/** Asks; throws `Refused`, also where nobody answers. */
export async function ask<T>(method: string, address: string, body?: unknown, signal?: AbortSignal, also?: Record<string, string>): Promise<T> {
  const headers: Record<string, string> = { accept: 'application/json', ...also };
  if (body !== undefined) headers['content-type'] = 'application/json';
  let answer: Response;
  try {
    answer = await fetch(address, { method, headers, body: body === undefined ? null : JSON.stringify(body), signal: signal ?? null });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refused('The server did not answer.', 'unreachable', ['Try again.']);
  }
  if (answer.status === 204) return undefined as T;
  const read = await answer.json().catch(() => undefined);
  if (answer.ok && read !== undefined) return read as T;
  const told = read?.details;
  throw new Refused(told?.message ?? `The server answered ${answer.status}.`, told?.code ?? '', told?.nextSteps ?? [], told?.field);
}

/** Goes to GitHub to connect an account, and comes back to `next`. */
export async function connect(next: string): Promise<void> {
  const { url } = await ask<{ url: string }>('POST', '/api/github/connect', { next });
  location.assign(url);
}

/** Whether the installation is set up for GitHub, as the page was served. */
export const hasGitHub = (): boolean => document.documentElement.dataset['github'] !== undefined;

/** An element with a class, texts and elements in it. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className: string,
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** A button that does something. */
export function button(text: string, run: () => void): HTMLButtonElement {
  const element = make('button', 'button', text);
  element.type = 'button';
  element.dataset['size'] = 'small';
  element.addEventListener('click', run);
  return element;
}

/** What was refused, and what to do. */
export function words(error: unknown): string {
  return error instanceof Refused ? [error.message, ...error.steps].join(' ') : String(error);
}
