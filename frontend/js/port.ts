// The port in a preview's address. Pure.

/** `3000` of `http://3000--NAME.localhost:4000/`; undefined where there is none. */
export function portOf(address: string): string | undefined {
  return /^https?:\/\/(\d+)--/.exec(address)?.[1];
}
