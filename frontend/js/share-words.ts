// Shares of previews in words. Pure.

export type Audience = 'private' | 'users' | 'link';

/** A port that others may open, as the API lists it. */
export interface SharedPort {
  port: number;
  audience: Audience;
  expiresAt?: string | undefined;
}

/** What the button says that shares a port: how it is shared, with times written by `when`. */
export function label(share: SharedPort | undefined, when: (at: string) => string): string {
  if (!share) return 'Share preview';
  const until = share.expiresAt ? ` until ${when(share.expiresAt)}` : '';
  return `${share.audience === 'link' ? 'Shared by link' : 'Shared with users'}${until}`;
}
