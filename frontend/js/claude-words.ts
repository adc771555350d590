// Claude credentials in words. Pure.

import { ago } from './signed-in-words.ts';

export type Kind = 'apiKey' | 'authToken';

export interface Own {
  kind: Kind;
  endsWith: string | null;
  baseUrl: string | null;
  setAt: string;
}

export interface View {
  own: Own | null;
  operator: boolean;
  operatorFile: string;
  waiting: { id: string; name: string }[];
}

export const KINDS: Record<Kind, { name: string; variable: string }> = {
  apiKey: { name: 'API key', variable: 'ANTHROPIC_API_KEY' },
  authToken: { name: 'Auth token', variable: 'ANTHROPIC_AUTH_TOKEN' },
};

/** What a person has: a heading and two lines. */
export function state({ own, operator, operatorFile }: View, now: number): { heading: string; lines: [string, string] } {
  const file = operatorFile || '.secret/.env';
  if (!own) {
    return operator
      ? { heading: 'The operator’s credentials', lines: ['Your sandboxes use them, until you set your own.', `They are in ${file}.`] }
      : { heading: 'No credentials', lines: ['Claude Code in your sandboxes asks to sign in.', `Set your own here, or the operator sets some in ${file}.`] };
  }
  const end = own.endsWith ? ` It ends in ${own.endsWith}.` : '';
  const where = own.baseUrl ? `For ${own.baseUrl}` : 'For Anthropic’s own address';
  return { heading: KINDS[own.kind].name, lines: [`Set ${ago(own.setAt, now)}.${end}`, `${where}${operator ? ', in place of the operator’s.' : '.'}`] };
}

/** How many sandboxes run with others. */
export function waits(count: number): string {
  return count === 1 ? 'One sandbox still runs with what it was started with.' : `${count} sandboxes still run with what they were started with.`;
}

/** The field that a refusal is about. */
export function field(code: string): 'value' | 'url' | undefined {
  if (code.startsWith('claude-value-')) return 'value';
  return code.startsWith('claude-url-') ? 'url' : undefined;
}
