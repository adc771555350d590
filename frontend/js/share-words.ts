// Shares of previews in words. Pure.

export type Audience = 'private' | 'users' | 'link';

/** A port that others may open, as the API lists it. */
export interface SharedPort {
  port: number;
  audience: Audience;
  expiresAt?: string | undefined;
}

/** A day: a browser's timer takes 24 of them at most. */
const LOOK_MS = 86_400_000;

/** Those that are not over at `now`, and after how many milliseconds to look again, where one ends. */
export function lasting(shares: readonly SharedPort[], now: number): { shares: SharedPort[]; again: number | undefined } {
  const left = ({ expiresAt }: SharedPort): number => (expiresAt ? Date.parse(expiresAt) - now : Infinity);
  const still = shares.filter((share) => left(share) > 0);
  const next = Math.min(...still.map(left));
  return { shares: still, again: next === Infinity ? undefined : Math.min(next, LOOK_MS) };
}

/** What the button says that shares a port: how it is shared, with times written by `when`. */
export function label(share: SharedPort | undefined, when: (at: string) => string): string {
  if (!share) return 'Share preview';
  const until = share.expiresAt ? ` until ${when(share.expiresAt)}` : '';
  return `${share.audience === 'link' ? 'Shared by link' : 'Shared with users'}${until}`;
}
