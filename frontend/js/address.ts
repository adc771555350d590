// Addresses: what was typed into that of a preview, and the sign-in that leads back. Pure.

/** The path that it means on `preview`, the address of a preview; `undefined` where it is on another host. */
export function pathOf(typed: string, preview: string): string | undefined {
  const { origin, host, protocol } = new URL(preview);
  let text = typed.trim();
  // As browsers show addresses, and as they are typed.
  if (text === host || text.startsWith(`${host}/`)) text = `${protocol}//${text}`;
  // What has a dot or a colon before any slash is a host or another scheme.
  else if (!/^[/\\]/.test(text)) text = /^[^/?#]*[.:]/.test(text) ? absolute(text) : `/${text}`;
  let url: URL;
  try {
    url = new URL(text, preview);
  } catch {
    return undefined;
  }
  // `//` begins another host, where it stands alone.
  if (url.origin !== origin || url.pathname.startsWith('//')) return undefined;
  return url.pathname + url.search + url.hash;
}

/** The sign-in page's, which leads back to a path of ours. */
export function signInFrom(path: string): string {
  return path === '/' ? '/sign-in' : `/sign-in?next=${encodeURIComponent(path)}`;
}

/** With a scheme: what is typed without one would be a path. */
function absolute(text: string): string {
  return /^[a-z][a-z0-9+.-]*:/i.test(text) && !/^[^/?#]*:\d/.test(text) ? text : `http://${text}`;
}
