// Previews as ports of another host, in a real browser: its cookies know no ports.
import net from 'node:net';
import { expect, test } from '../support/fixtures.ts';
import { Workspace } from '../support/pages.ts';
import { until } from '../support/until.ts';

/** Shows who it is and which cookies came along, and sets one of each kind. */
const APPLICATION = String.raw`
const http = require('node:http'), name = process.argv[2];
http.createServer((q, r) => {
  const framed = '; Path=/; Secure; SameSite=None; Partitioned';
  r.setHeader('set-cookie', ['sid=' + name + '; HttpOnly' + framed, 'theme=' + name + framed]);
  if (q.url === '/sw.js') return r.setHeader('content-type', 'text/javascript'), r.end('');
  r.setHeader('content-type', 'text/html');
  r.end('<!doctype html><html lang=en><title>' + name + '</title><h1>' + name + '</h1><p id=came>' + (q.headers.cookie ?? 'none') + '</p></html>');
}).listen(3000);
`;

/** Ports beside each other that are free now. */
async function range(count: number): Promise<[number, number]> {
  const free = (port: number) =>
    new Promise<boolean>((resolve) => {
      const server = net.createServer().once('error', () => resolve(false)).listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
  for (;;) {
    const first = 20_000 + Math.floor(Math.random() * 10_000);
    const all = await Promise.all(Array.from({ length: count }, (_, n) => free(first + n)));
    if (all.every(Boolean)) return [first, first + count - 1];
  }
}

test('previews on ports are seen in the pane, and keep their cookies and requests to themselves', async ({ ownServer, visitor, allowConsole }) => {
  test.setTimeout(120_000);
  const [first, last] = await range(4);
  const server = await ownServer({ args: ['--preview-listen', `127.0.0.1:${first}-${last}`] });
  const api = await server.api();
  const context = await visitor({ server });
  const page = await context.newPage();
  const workspace = new Workspace(page);
  for (const [n, name] of ['alpha', 'beta'].entries()) {
    const project = await api.running(name, { database: false });
    await api.output(project.id, 'cat > app.js', { stdin: APPLICATION });
    await api.output(project.id, `setsid node app.js ${name} >/dev/null 2>&1 & sleep 0.1`);
    await until('port 3000 to be told', async () => (await api.sandbox(project.id)).ports.some(({ port }) => port === 3000));
    await workspace.open(project.id);
    await expect(workspace.preview.getByRole('heading', { name })).toBeVisible();
    await until('the frame', () => page.frames().some((frame) => frame.url() === `http://127.0.0.1:${first + n}/`));
    // The second time its own cookies come along.
    await until('another load', async () => {
      await workspace.preview.locator('body').evaluate((body) => body.setAttribute('data-before', ''));
      await page.getByRole('button', { name: 'Reload preview' }).click();
      await expect(workspace.preview.locator('body:not([data-before])')).toBeVisible();
      return (await workspace.preview.locator('#came').textContent()) !== 'none';
    }, 30_000);
    await expect(workspace.preview.locator('#came')).toContainText(`sid=${name}`);
    await expect(workspace.preview.locator('#came')).not.toContainText(/fsa/);
  }
  // Beta's page asks alpha's preview with all that the browser has: nothing comes of it.
  allowConsole(/Failed to load resource|CORS|blocked|ServiceWorker|service worker|bad HTTP response code/i);
  const frame = page.frames().find((frame) => frame.url().startsWith(`http://127.0.0.1:${first + 1}/`))!;
  await expect(workspace.preview.locator('#came')).not.toContainText('sid=alpha');
  const answers = await frame.evaluate(async (address) => {
    const asked = async (init: RequestInit) => await fetch(address, { credentials: 'include', ...init }).then((answer) => answer.type, () => 'refused');
    const worker = await navigator.serviceWorker?.register('/sw.js').then(() => 'registered', () => 'refused');
    return [await asked({}), await asked({ mode: 'no-cors', method: 'POST', body: 'x' }), worker];
  }, `http://127.0.0.1:${first}/`);
  expect(answers[0]).toBe('refused');
  expect(answers[2]).not.toBe('registered');
  expect(server.log).not.toMatch(/panicked/);
});
