// What the sandbox serves, seen through the control plane by its owner and by nobody else.
import { ALONE } from '../support/alone.ts';
import { type Api, type Project } from '../support/api.ts';
import { ONE_MACHINE } from '../support/cluster.ts';
import { expect, test } from '../support/fixtures.ts';
import { inspect } from '../support/inspect.ts';
import { Workspace } from '../support/pages.ts';
import { sandboxProcessesOf } from '../support/processes.ts';
import { until } from '../support/until.ts';
import { Terminal } from '../support/terminal.ts';
import { controlPlane } from '../support/world.ts';

/** An application of Node alone: a page, headers shown back, a slow stream, a WebSocket that echoes. */
const APPLICATION = String.raw`
const http = require('node:http'), crypto = require('node:crypto');
const page = '<!doctype html><html lang=en><title>Boats</title><h1>Boats for hire</h1><p id=echo>waiting</p><script>' +
  "const s=new WebSocket(location.origin.replace('http','ws')+'/echo');s.onopen=()=>s.send('ahoy');s.onmessage=(m)=>{document.getElementById('echo').textContent='echo: '+m.data}" +
  '</script></html>';
const server = http.createServer((q, r) => {
  if (q.url === '/headers') return r.setHeader('content-type', 'application/json'), r.end(JSON.stringify(q.headers));
  if (q.url === '/framed') return r.setHeader('x-frame-options', 'DENY'), r.setHeader('content-security-policy', "frame-ancestors 'none'"), r.end('framed');
  if (q.url === '/dies') return q.socket.destroy();
  r.setHeader('content-type', 'text/html');
  r.end(page);
});
server.on('upgrade', (q, s) => {
  const key = crypto.createHash('sha1').update(q.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
  s.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ' + key + '\r\n\r\n');
  s.on('error', () => {});
  s.on('data', (d) => {
    if ((d[0] & 15) !== 1) return;
    const n = d[1] & 127, mask = d.subarray(2, 6), text = Buffer.from(d.subarray(6, 6 + n).map((b, i) => b ^ mask[i % 4]));
    s.write(Buffer.concat([Buffer.from([129, n]), text]));
  });
});
server.listen(Number(process.argv[2]), process.argv[3], () => console.log('serving'));
`;

/** Starts the application in a terminal of its own and waits until the control plane knows its port. */
async function serve(api: Api, project: Project, port = 3000, address = '127.0.0.1'): Promise<Terminal> {
  await api.output(project.id, 'cat > app.js', { stdin: APPLICATION });
  const terminal = await Terminal.open(api, project.id, { session: `web-${port}` });
  await terminal.prompt();
  const from = terminal.end;
  terminal.type(`node app.js ${port} ${address}\r`);
  await terminal.sees(/^serving/m, from);
  await until(`port ${port} to be told`, async () => (await api.sandbox(project.id)).ports.some((open) => open.port === port));
  return terminal;
}

test('a web server on 3000 is seen in the pane, with its WebSocket', async ({ api, project, visitor }) => {
  const workspace = await new Workspace(await (await visitor()).newPage()).open(project.id);
  await expect(workspace.previewPane).toContainText(/Nothing listens on port 3000/i);
  await serve(api, project);
  // By itself: nobody asked the page to reload.
  await expect(workspace.preview.getByRole('heading', { name: 'Boats for hire' })).toBeVisible();
  await expect(workspace.preview.getByText('echo: ahoy')).toBeVisible();
});

test('the preview opens in a tab of its own', async ({ api, project, visitor }) => {
  const workspace = await new Workspace(await (await visitor()).newPage()).open(project.id);
  await serve(api, project);
  await expect(workspace.preview.getByText('echo: ahoy')).toBeVisible();
  const opened = workspace.page.context().waitForEvent('page');
  await workspace.previewPane.getByRole('button', { name: /new tab/i }).or(workspace.previewPane.getByRole('link', { name: /new tab/i })).click();
  const tab = await opened;
  await expect(tab.getByRole('heading', { name: 'Boats for hire' })).toBeVisible();
  await expect(tab.getByText('echo: ahoy')).toBeVisible();
  expect(new URL(tab.url()).hostname).toBe(`3000--${project.sandbox.name}.localhost`);

  // And by the palette.
  const again = workspace.page.context().waitForEvent('page');
  await workspace.page.bringToFront();
  await workspace.page.locator('#main').focus();
  await workspace.page.keyboard.press('Control+k');
  await expect(workspace.page.getByRole('combobox', { name: 'Search projects and commands' })).toBeFocused();
  await workspace.page.keyboard.type('preview in a new tab');
  await workspace.page.keyboard.press('Enter');
  await expect((await again).getByText('echo: ahoy')).toBeVisible();
});

test('a browser that is not signed in gets nothing of the application', async ({ api, project, visitor, allowConsole }) => {
  allowConsole(/status of 4\d\d/, /WebSocket/);
  await serve(api, project);
  const { application } = (await api.sandbox(project.id)).urls;
  const stranger = await (await visitor({ signedIn: false })).newPage();
  const answer = await stranger.goto(application!);
  expect(await stranger.content()).not.toContain('Boats for hire');
  expect(answer!.status()).toBe(401);
  await expect(stranger.getByRole('heading', { level: 1 })).toHaveText('Sign in to see this preview');
  await inspect(stranger, 'preview-signed-out');
  // The way in leads to the sign-in, and says why.
  await stranger.getByRole('link', { name: 'Open it through FullStack Agent' }).click();
  await expect(stranger.getByRole('heading', { level: 1 })).toHaveText('Sign in to open this preview');
  await inspect(stranger, 'open-signed-out');
  await stranger.getByRole('link', { name: 'Sign in' }).click();
  await expect(stranger).toHaveURL(/\/sign-in\?next=/);
  const host = new URL(application!).host;
  for (const path of ['/', '/headers', '/app.js']) {
    const raw = await api.ask('GET', path, { headers: { host, authorization: undefined } });
    expect(raw.text, path).not.toMatch(/Boats|sec-websocket|user-agent/i);
    expect(raw.status, path).not.toBe(200);
  }
  const upgrade = await api.ask('GET', '/echo', {
    headers: { host, authorization: undefined, connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==' },
  });
  expect(upgrade.status).not.toBe(101);
});

test('the application sees its own host and nothing of ours', async ({ api, project, visitor }) => {
  const workspace = await new Workspace(await (await visitor()).newPage()).open(project.id);
  await serve(api, project);
  const frame = workspace.preview;
  await expect(frame.getByText('echo: ahoy')).toBeVisible();
  const headers = await frame.locator('body').evaluate(async () => (await fetch('/headers')).json() as Promise<Record<string, string>>);
  expect(headers['host']).toBe('localhost:3000');
  expect(headers['x-forwarded-host']).toMatch(/^3000--/);
  expect(headers['authorization']).toBeUndefined();
  expect(headers['cookie'] ?? '').not.toMatch(/fsa|session|preview/i);
});

test('an application that sets our cookies signs nobody out and opens nothing', async ({ api, project, visitor }) => {
  const workspace = await new Workspace(await (await visitor()).newPage()).open(project.id);
  await serve(api, project);
  await expect(workspace.preview.getByText('echo: ahoy')).toBeVisible();
  // Scripts set what no answer may: for itself, for the path of the API, for all names below ours.
  await workspace.preview.locator('body').evaluate(() => {
    const above = location.hostname.split('.').slice(1).join('.');
    for (const name of ['fsa_session', 'fsa_preview', 'fsa_frame', 'fsa_shared']) {
      for (const rest of ['path=/', 'path=/api', `path=/; domain=${above}`, `path=/api; domain=${above}`]) document.cookie = `${name}=mine; ${rest}`;
    }
  });
  const answers = await workspace.page.evaluate(async () => [(await fetch('/api/me')).status, (await fetch('/api/projects')).status]);
  expect(answers).toEqual([200, 200]);
  await workspace.page.reload();
  await expect(workspace.preview.getByText('echo: ahoy')).toBeVisible();
  const headers = await workspace.preview.locator('body').evaluate(async () => (await fetch('/headers')).json() as Promise<Record<string, string>>);
  expect(headers['cookie'] ?? '').not.toContain('fsa_');
});

test('each way in which a preview is not shown has a page of its own, which is true for as long as it stands', async ({ api, project, server, visitor, allowConsole }) => {
  test.setTimeout(180_000);
  allowConsole(/status of [45]\d\d/);
  const { preview: template } = (await api.sandbox(project.id)).urls;
  const at = (port: number) => template!.replace('{port}', String(port));
  const context = await visitor();
  const page = await context.newPage();
  const heading = page.getByRole('heading', { level: 1 });

  // Nobody listens; then somebody does, and nobody asks for the page again.
  await page.goto(`/open/${project.sandbox.name}/3000`);
  await expect(heading).toHaveText('Nothing listens on port 3000');
  await serve(api, project);
  await expect(heading).toHaveText('Boats for hire');

  await page.goto(new URL('/dies', at(3000)).href);
  await expect(heading).toHaveText('The server on port 3000 broke off');
  await inspect(page, 'preview-died', [320]);

  // Stopped; up again without a server; with one.
  await api.act(project.id, 'stop');
  await api.reaches(project.id, 'Stopped');
  await page.goto(at(3000));
  await expect(heading).toHaveText('The sandbox is not running');
  await inspect(page, 'preview-stopped', [320]);
  await api.act(project.id, 'start');
  await expect(heading).toHaveText('Nothing listens on port 3000', { timeout: 30_000 });
  await api.reaches(project.id, 'Running');
  const terminal = await serve(api, project);
  await expect(heading).toHaveText('Boats for hire');

  for (const [address, title] of [
    [at(7681), 'This port has no preview'],
    [at(0), 'There is no such port'],
    [at(65_536), 'There is no such port'],
    [at(3000).replace(project.sandbox.name, 'nobody'), 'There is no such preview'],
    [new URL('/.fsa/nothing', at(3000)).href, 'There is nothing here'],
  ] as const) {
    await page.goto(address);
    await expect(heading, address).toHaveText(title);
  }
  await inspect(page, 'preview-none', [320]);

  // Over by the clock: said where a page waits, and where one is loaded, with the way back from each.
  const workspace = await new Workspace(await context.newPage()).open(project.id);
  await expect(workspace.preview.getByText('echo: ahoy')).toBeVisible();
  terminal.type('\x03');
  await until('the port to be gone', async () => !(await api.sandbox(project.id)).ports.some(({ port }) => port === 3000));
  await page.goto(at(3000));
  await expect(heading).toHaveText('Nothing listens on port 3000');
  await serve(api, project, 5000);
  await workspace.previewPane.getByRole('button', { name: /choose another/ }).click();
  await workspace.page.getByRole('menuitemradio', { name: /5000/ }).click();
  await expect(workspace.preview.getByText('echo: ahoy')).toBeVisible();
  controlPlane(server, `UPDATE preview_sessions SET expires_at = now() WHERE sandbox_id = (SELECT id FROM sandboxes WHERE name = '${project.sandbox.name}')`);
  await expect(heading).toHaveText('Sign in to see this preview');
  await inspect(page, 'preview-signed-out', [390]);
  await page.getByRole('link', { name: 'Open it through FullStack Agent' }).click();
  await expect(heading, 'who is signed in is let in').toHaveText('Nothing listens on port 3000');

  await workspace.page.bringToFront();
  // Its page goes away while it answers.
  await workspace.preview.locator('body').evaluate(() => location.reload()).catch(() => undefined);
  await expect(workspace.preview.getByRole('heading', { name: 'Sign in to see this preview' })).toBeVisible();
  await expect(workspace.preview.getByText('the button “Reload preview” opens it again')).toBeVisible();
  await workspace.previewPane.getByRole('button', { name: 'Reload preview' }).click();
  await expect(workspace.preview.getByText('echo: ahoy')).toBeVisible();
});

// The agent's process is this machine's; of a pod that stands still, the kubelet makes another.
test('a preview whose agent stands still says so, and goes on with it', ONE_MACHINE, async ({ project, server, visitor, allowConsole }) => {
  allowConsole(/status of [45]\d\d/);
  const page = await (await visitor()).newPage();
  const heading = page.getByRole('heading', { level: 1 });
  await page.goto(`/open/${project.sandbox.name}/3000`);
  await expect(heading).toHaveText('Nothing listens on port 3000');
  const agents = sandboxProcessesOf(server.dataDir).filter(({ command }) => command.split(' ')[0]!.endsWith('/sandbox-agent'));
  expect(agents.length, 'agents that run').toBeGreaterThan(0);
  server.allow(/the agent of a running sandbox does not answer/);
  for (const { pid } of agents) process.kill(pid, 'SIGSTOP');
  try {
    await expect(heading).toHaveText('The sandbox does not answer', { timeout: 30_000 });
    await inspect(page, 'preview-unreachable', [320]);
  } finally {
    for (const { pid } of agents) process.kill(pid, 'SIGCONT');
  }
  await expect(heading).toHaveText('Nothing listens on port 3000', { timeout: 30_000 });
});

test('an application that forbids framing is shown in the pane all the same', async ({ api, project, visitor }) => {
  const workspace = await new Workspace(await (await visitor()).newPage()).open(project.id);
  await serve(api, project);
  await expect(workspace.preview.getByText('echo: ahoy')).toBeVisible();
  const told = await workspace.preview.locator('body').evaluate(async () => {
    const answer = await fetch('/framed');
    return { frame: answer.headers.get('x-frame-options'), policy: answer.headers.get('content-security-policy') };
  });
  expect(told.frame).toBeNull();
  expect(told.policy ?? '').not.toContain("frame-ancestors 'none'");
});

test('a server on ::1 and one on all addresses are found too', async ({ api, project }) => {
  await serve(api, project, 8080, '::1');
  await serve(api, project, 5000, '0.0.0.0');
  await serve(api, project, 4321, '127.0.0.1');
  const ports = (await api.sandbox(project.id)).ports.map(({ port }) => port);
  expect(ports).toEqual(expect.arrayContaining([4321, 5000, 8080]));
  for (const own of [5432, 7681, 7682]) expect(ports).not.toContain(own);
});

test('a port that closes is gone, and one that opens is there within a second', ALONE, async ({ api, project }) => {
  const terminal = await serve(api, project);
  terminal.type('\x03');
  await until('the port to be gone', async () => !(await api.sandbox(project.id)).ports.some(({ port }) => port === 3000));
  const from = terminal.end;
  terminal.type('node app.js 3000 127.0.0.1\r');
  await terminal.sees(/serving/, from);
  const open = performance.now();
  await until('the port to be told', async () => (await api.sandbox(project.id)).ports.some(({ port }) => port === 3000));
  expect(performance.now() - open, 'milliseconds from open to told').toBeLessThan(1_000);
});

test('ports that are none, nobody’s or the agent’s are refused with a word', async ({ api, project, signedIn: page, allowConsole }) => {
  allowConsole(/status of 4\d\d/);
  const { name } = project.sandbox;
  const base = new URL(api.origin).port;
  for (const [label, status] of [
    [`7681--${name}`, 403],
    [`5432--${name}`, 403],
    [`0--${name}`, 404],
    [`99999--${name}`, 404],
    [`abc--${name}`, 404],
    // A stranger is sent to sign in, and is not told which sandboxes there are.
    ['3000--nobody-agentruntime-abc123', 401],
  ] as const) {
    const answer = await api.ask('GET', '/', { headers: { host: `${label}.localhost:${base}`, authorization: undefined } });
    expect(answer.status, `${label}: ${answer.text.slice(0, 200)}`).toBe(status);
  }
  // As a person sees it, by the way in and at the preview's own host.
  for (const [address, status, says, picture] of [
    [`/open/${name}/7681`, 403, /7681/, 'page-refused'],
    [`http://7681--${name}.localhost:${base}/`, 403, /7681/, 'preview-refused'],
  ] as const) {
    const answer = await page.goto(address);
    expect(answer!.status(), address).toBe(status);
    await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
    await expect(page.getByRole('main')).toContainText(says);
    await inspect(page, picture);
  }
});
