// The sign-in page's script, inline under the page's nonce. The one-time code stands in the address'
// fragment, which no server and no log ever sees; it is taken out of the address bar at once.
(() => {
  const page = document.documentElement;
  // Where the visitor wanted to go. The server takes none but a path of its own.
  const next = new URLSearchParams(location.search).get('next') ?? undefined;
  const show = (state) => (page.dataset.signIn = state);
  const signIn = async (code) => {
    show('working');
    try {
      const answer = await fetch('/api/sign-in', {
        method: 'POST',
        headers: { 'content-type': 'application/json', accept: 'application/json' },
        body: JSON.stringify({ code, next }),
      });
      const body = await answer.json().catch(() => ({}));
      if (answer.ok) {
        const to = typeof body.next === 'string' && /^\/(?![/\\])/.test(body.next) ? body.next : '/';
        return location.replace(to);
      }
      const { code: why = '', message = '' } = body.details ?? {};
      document.getElementById('sign-in-why').textContent = message;
      if (/used/.test(why)) show('used');
      else if (/expired/.test(why) || answer.status === 410) show('expired');
      else if (answer.status === 429) show('many');
      else if (answer.status >= 500) show('away');
      else show('forged');
    } catch {
      show('away');
    }
    document.getElementById('code')?.focus();
  };
  const fromAddress = () => {
    const raw = location.hash.slice(1);
    if (raw === '' || raw === 'main') return;
    history.replaceState(null, '', location.pathname + location.search);
    let code;
    try {
      code = decodeURIComponent(raw);
    } catch {
      return show('forged');
    }
    void signIn(code);
  };
  document.addEventListener('submit', (event) => {
    event.preventDefault();
    const typed = new FormData(event.target).get('code').trim();
    const code = typed.slice(typed.indexOf('#') + 1);
    if (code !== '') void signIn(code);
  });
  document.getElementById('github')?.addEventListener('click', async () => {
    show('working');
    try {
      const answer = await fetch('/api/github/sign-in', {
        method: 'POST',
        headers: { 'content-type': 'application/json', accept: 'application/json' },
        body: JSON.stringify({ next }),
      });
      const body = await answer.json().catch(() => ({}));
      if (answer.ok) return location.assign(body.url);
      document.getElementById('sign-in-why').textContent = body.details?.message ?? '';
      show(answer.status === 429 ? 'many' : 'github');
    } catch {
      show('away');
    }
  });
  // Back from GitHub by the browser's button, the page is as it was left.
  addEventListener('pageshow', (event) => event.persisted && delete page.dataset.signIn);
  addEventListener('hashchange', fromAddress);
  fromAddress();
})();
