// Sandboxes reached by their Ingresses' hosts, with nginx between and without the control plane: by whom, and by nobody else.
import { randomBytes } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { INGRESS } from '../support/alone.ts';
import type { Api, Project } from '../support/api.ts';
import { CLUSTER, kubectl } from '../support/cluster.ts';
import { expect, test } from '../support/fixtures.ts';
import { GitHub } from '../support/github.ts';
import { Nginx, lackOfNginx, makeCertificate } from '../support/nginx.ts';
import { type Server, freePort } from '../support/server.ts';
import { Terminal } from '../support/terminal.ts';
import { until } from '../support/until.ts';
import { installationOf, nothingLeft } from '../support/world.ts';

test.describe.configure(INGRESS);

const DOMAIN = 'apps.localhost';

/** An application that tells each page what came with its request, and echoes one WebSocket message; with a file `ill` beside it, it answers 500. */
const APPLICATION = String.raw`
const http = require('node:http'), crypto = require('node:crypto'), fs = require('node:fs');
const page = '<!doctype html><html lang=en><title>Boats</title><h1>Boats for hire</h1><p id=echo>waiting</p><script>' +
  "const s=new WebSocket(location.origin.replace('http','ws')+'/echo');s.onopen=()=>s.send('ahoy');s.onmessage=(m)=>{document.getElementById('echo').textContent='echo: '+m.data}" +
  '</script></html>';
const server = http.createServer((q, r) => {
  if (q.url.startsWith('/headers')) return r.setHeader('content-type', 'application/json'), r.end(JSON.stringify(q.headers));
  r.setHeader('content-type', 'text/html');
  if (fs.existsSync('ill')) return r.statusCode = 500, r.end('<!doctype html><h1>No boats yet</h1>');
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
server.listen(3000, '0.0.0.0', () => console.log('serving'));
`;

interface Answer {
  status: number;
  headers: http.IncomingHttpHeaders;
  text: string;
}

/** A request to nginx, with exactly these headers beside `Host`. */
async function ask(url: string, headers: Record<string, string> = {}): Promise<Answer> {
  const { protocol, host, pathname, search } = new URL(url);
  const secure = protocol === 'https:';
  return await new Promise((resolve, reject) => {
    const request = (secure ? https : http).request(
      {
        host: '127.0.0.1', port: secure ? 443 : 80, path: pathname + search, headers: { host, ...headers }, agent: false, timeout: 15_000,
        servername: secure ? host : undefined, rejectUnauthorized: false,
      } as https.RequestOptions,
      (response) => {
        let text = '';
        response.on('data', (chunk: Buffer) => (text += chunk.toString()));
        response.on('end', () => resolve({ status: response.statusCode!, headers: response.headers, text }));
      },
    );
    request.on('upgrade', (response, socket) => {
      socket.destroy();
      resolve({ status: response.statusCode!, headers: response.headers, text: '' });
    });
    request.on('timeout', () => request.destroy(new Error(`${url} took over 15 s`)));
    request.on('error', reject);
    request.end();
  });
}

/** The status of a request whose line names another host than its `Host`, which no browser and no client here would send. */
async function askWhole(url: string, host: string, cookie: string): Promise<string> {
  return await new Promise((resolve, reject) => {
    let text = '';
    const socket = net.connect(80, '127.0.0.1', () => socket.write(`GET ${url} HTTP/1.1\r\nHost: ${host}\r\nCookie: ${cookie}\r\nConnection: close\r\n\r\n`));
    socket.setTimeout(15_000, () => socket.destroy(new Error(`${url} took over 15 s`)));
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    socket.on('error', reject).on('end', () => resolve(text));
  });
}

/** What a browser sends with a WebSocket. */
const upgrade = (origin: string | undefined, protocol?: string): Record<string, string> => ({
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': randomBytes(16).toString('base64'),
  ...(origin === undefined ? {} : { origin }),
  ...(protocol === undefined ? {} : { 'sec-websocket-protocol': protocol }),
});

interface World {
  server: Server;
  api: Api;
  project: Project;
  application: string;
  terminal: string;
  nginx: Nginx;
}

/** A server with Ingresses, a sandbox that serves, and nginx before it. */
async function world(
  ownServer: (options: { args?: string[]; env?: Record<string, string>; port?: number }) => Promise<Server>,
  secret?: string,
  more: { args?: string[]; env?: Record<string, string> } = {},
): Promise<World> {
  const port = await freePort();
  const server = await ownServer({
    port,
    ...more,
    env: {
      FSA_INGRESS_DOMAIN: DOMAIN,
      FSA_INGRESS_CLASS: 'nginx',
      FSA_INGRESS_AUTH_URL: `http://127.0.0.1:${port}`,
      ...(secret === undefined ? {} : { FSA_INGRESS_TLS_SECRET: secret }),
      ...more.env,
    },
  });
  const api = await server.api();
  const project = await api.running('Boats');
  await api.output(project.id, 'cat > app.js', { stdin: APPLICATION });
  const serving = await Terminal.open(api, project.id, { session: 'web' });
  await serving.prompt();
  const from = serving.end;
  serving.type('node app.js\r');
  await serving.sees(/^serving/m, from);
  serving.close();
  const { application, terminal } = (await api.sandbox(project.id)).urls;
  const scheme = secret === undefined ? 'http' : 'https';
  expect(application).toBe(`${scheme}://${project.sandbox.name}.${DOMAIN}/`);
  expect(terminal).toBe(`${scheme}://${project.sandbox.name}-terminal.${DOMAIN}/`);
  const nginx = await Nginx.start(installationOf(server));
  // A Service leads to a pod a moment after it is ready.
  await until('the Service to lead to it', async () => (await ask(await code(api, application!))).status === 200);
  return { server, api, project, application: application!, terminal: terminal!, nginx };
}

async function end({ server, api, project, nginx }: World): Promise<void> {
  await nginx.stop();
  await api.remove(project.id);
  await nothingLeft(server);
}

/** The token of a sandbox's agent, which no browser may ever have. */
const agentToken = (project: Project): string =>
  Buffer.from(JSON.parse(kubectl('get', 'secret', `${project.sandbox.name}-agent`, '-o', 'jsonpath={.data}')).FSA_AGENT_TOKEN, 'base64').toString();

/** A code for a host, as the page of the control plane gets it: where it leads. */
async function code(api: Api, url: string): Promise<string> {
  const answer = await api.ask('POST', `/ingress/sign-in?rd=${encodeURIComponent(url)}`);
  expect(answer.status, answer.text).toBe(303);
  return answer.headers.location!;
}

/** The cookie of a host, for one who may. */
async function cookie(api: Api, url: string): Promise<string> {
  const answer = await ask(await code(api, url));
  expect(answer.status, answer.text).toBe(200);
  return answer.headers['set-cookie']![0]!.split(';')[0]!;
}

test('on an Ingress host the owner has application and terminal, by TLS, and no browser the agent’s token', CLUSTER, async ({ ownServer, browser }) => {
  test.setTimeout(150_000);
  test.skip(lackOfNginx() !== undefined, lackOfNginx());
  makeCertificate(DOMAIN, 'ingress-certificate');
  const all = await world(ownServer, 'ingress-certificate');
  const { server, project, application, terminal } = all;
  const token = agentToken(project);
  expect(token.length).toBeGreaterThan(20);
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const stranger = await browser.newContext({ ignoreHTTPSErrors: true });
  try {
    // Everything that comes to the browser is looked through.
    const told: string[] = [];
    context.on('response', (response) => {
      void (async () => {
        const headers = JSON.stringify(await response.allHeaders().catch(() => ({})));
        const body = await response.text().catch(() => '');
        if ((headers + body).includes(token)) told.push(response.url());
      })();
    });
    const page = await context.newPage();
    await page.goto(await server.signInLink());
    await page.waitForURL((url) => !url.pathname.startsWith('/sign-in'));

    expect((await ask(application.replace('https:', 'http:'))).status, 'plain HTTP leads to TLS').toBe(308);
    await page.goto(application);
    await expect(page.getByRole('heading', { name: 'Boats for hire' })).toBeVisible();
    await expect(page.getByText('echo: ahoy'), 'its WebSocket goes through').toBeVisible();
    const own = await context.cookies(application);
    expect(own.map(({ name, secure, httpOnly }) => ({ name, secure, httpOnly }))).toEqual([{ name: '__Host-fsa_preview', secure: true, httpOnly: true }]);
    const seen = await page.evaluate(async () => (await fetch('/headers')).json() as Promise<Record<string, string>>);
    expect(seen['authorization']).toBeUndefined();
    expect(seen['cookie'] ?? '').not.toContain('fsa_session');
    // Once signed in, a visit takes no detour.
    await page.goto(`${application}again?x=1`);
    expect(page.url()).toBe(`${application}again?x=1`);

    await page.goto(terminal);
    await expect(page.locator('body')).toContainText('ttyd protocol');
    const shown = await page.evaluate(async () => {
      const socket = new WebSocket(`${location.origin.replace('http', 'ws')}/ws`, ['tty']);
      socket.binaryType = 'arraybuffer';
      let shown = '';
      socket.onopen = () => socket.send(new TextEncoder().encode(JSON.stringify({ AuthToken: '', columns: 80, rows: 24 })));
      socket.onmessage = ({ data }) => {
        const text = new TextDecoder().decode(data as ArrayBuffer);
        if (text[0] === '0') shown += text.slice(1);
      };
      const closed = new Promise<string>((resolve) => (socket.onclose = ({ code, reason }) => resolve(`closed: ${code} ${reason}`)));
      const seen = (async () => {
        while (!/[$#] /.test(shown)) await new Promise((resolve) => setTimeout(resolve, 50));
        socket.send(new TextEncoder().encode('0echo by-ingress-$((6*7))\r'));
        while (!shown.includes('by-ingress-42')) await new Promise((resolve) => setTimeout(resolve, 50));
        return shown;
      })();
      return await Promise.race([closed, seen, new Promise<string>((resolve) => setTimeout(() => resolve(`nothing more than: ${shown}`), 20_000))]);
    });
    expect(shown).toContain('by-ingress-42');
    // As stock ttyd's own page asks for it.
    const asked = await page.evaluate(async () => (await fetch('/token')).text());
    expect(asked, 'what ttyd tells its page').not.toContain(token);
    await page.close();
    expect(told, 'answers with the token of the agent').toEqual([]);

    const away = await stranger.newPage();
    for (const url of [application, terminal]) {
      await away.goto(url);
      expect(new URL(away.url()).origin, 'a stranger is sent to sign in').toBe(server.origin);
      expect(new URL(away.url()).pathname).toBe('/sign-in');
      expect(await away.content()).not.toMatch(/Boats for hire|ttyd protocol/);
    }
  } finally {
    await context.close();
    await stranger.close();
    await end(all);
  }
});

test('an Ingress host opens to its owner’s code once, and to nothing that is made up outside', CLUSTER, async ({ ownServer }) => {
  test.setTimeout(150_000);
  test.skip(lackOfNginx() !== undefined, lackOfNginx());
  const all = await world(ownServer);
  const { server, api, project, application, terminal } = all;
  const origin = (url: string) => new URL(url).origin;
  const refused = async (what: string, answer: Answer, status: number | number[] = 302) => {
    expect([status].flat(), what).toContain(answer.status);
    expect(answer.text, what).not.toMatch(/Boats for hire|ttyd protocol/);
  };
  try {
    for (const url of [application, terminal]) {
      const answer = await ask(`${url}a%20b?c=d&e=f`);
      await refused('without a session', answer);
      expect(answer.headers.location, 'and back to the whole address').toBe(`${server.origin}/ingress/sign-in?rd=${origin(url)}${encodeURIComponent('/a%20b?c=d&e=f')}`);
    }
    await refused('a WebSocket without a session', await ask(`${application}echo`, upgrade(origin(application))));
    await refused('the terminal’s, too', await ask(`${terminal}ws`, upgrade(origin(terminal), 'tty')));

    // The code of one host is of no use at the other, nor twice.
    const wrong = (await code(api, application)).replace(origin(application), origin(terminal));
    await refused('the application’s code at the terminal', await ask(wrong));
    const once = await code(api, application);
    expect((await ask(once)).status).toBe(200);
    await refused('a code that was used', await ask(once));

    const [forApplication, forTerminal] = [await cookie(api, application), await cookie(api, terminal)];
    expect((await ask(application, { cookie: forApplication })).text).toContain('Boats for hire');
    expect((await ask(terminal, { cookie: forTerminal })).text).toContain('ttyd protocol');
    await refused('the application’s cookie at the terminal', await ask(terminal, { cookie: forApplication }));
    await refused('the terminal’s cookie at the application', await ask(application, { cookie: forTerminal }));

    // nginx goes by the request line: whose cookie it is, is said of that host alone.
    expect(await askWhole(application, new URL(application).host, forApplication)).toMatch(/^HTTP\/1\.1 200 [^]*Boats for hire/);
    for (const [whole, beside, brought] of [[application, terminal, forTerminal], [terminal, application, forApplication]] as const) {
      expect(await askWhole(whole, new URL(beside).host, brought), `${whole} beside ${beside}`).toMatch(/^HTTP\/1\.1 403 (?![^]*(Boats for hire|ttyd protocol))/);
    }

    expect((await ask(`${application}echo`, { cookie: forApplication, ...upgrade(origin(application)) })).status).toBe(101);
    expect((await ask(`${terminal}ws`, { cookie: forTerminal, ...upgrade(origin(terminal), 'tty') })).status).toBe(101);
    for (const foreign of ['http://evil.example', origin(application), 'null', undefined]) {
      await refused(`a WebSocket of ${foreign}`, await ask(`${terminal}ws`, { cookie: forTerminal, ...upgrade(foreign, 'tty') }), 403);
    }

    // What nginx says of a request cannot be said from outside.
    const forged = {
      'x-original-url': application, 'X-Original-URI': '/', 'x-original-method': 'GET', 'x-auth-request-redirect': '/', 'x-sent-from': 'nginx-ingress-controller',
      'x-forwarded-host': new URL(application).host, 'x-forwarded-for': '203.0.113.9', 'x-real-ip': '203.0.113.9', 'x-forwarded-proto': 'https',
    };
    await refused('X-Original-URL of the host that the cookie is of', await ask(terminal, { cookie: forApplication, ...forged }));
    const seen = JSON.parse((await ask(`${application}headers`, { cookie: forApplication, ...forged })).text);
    expect([seen['x-real-ip'], seen['x-forwarded-for'], seen['x-forwarded-proto']]).toEqual(['127.0.0.1', '127.0.0.1', 'http']);
    await refused('the question itself', await ask(`${application}_external-auth`, { cookie: forApplication }), [403, 404]);

    // The terminal's token is nginx's to bring; what a browser brings instead is not passed on.
    const token = agentToken(project);
    const own = await ask(`${terminal}ws`, { authorization: `Bearer ${token}`, ...upgrade(origin(terminal), 'tty') });
    await refused('the agent’s token without a session', own);
    expect((await ask(`${terminal}ws`, { cookie: forTerminal, authorization: 'Bearer wrong', ...upgrade(origin(terminal), 'tty') })).status).toBe(101);
    for (const path of ['', 'token', 'ws', 'v1/sessions', 'v1/exec']) {
      const answer = await ask(terminal + path, { cookie: forTerminal });
      expect(JSON.stringify(answer.headers) + answer.text, path).not.toContain(token);
      if (path.startsWith('v1')) expect(answer.status, 'the terminal’s port has nothing but the terminal').toBe(404);
    }

    // Of the control plane, the question is answered to the controller alone.
    const question = { 'x-original-url': terminal, cookie: forTerminal };
    const public_ = await api.ask('GET', `/ingress/auth?of=${project.sandbox.name}-terminal`, { headers: { ...question, authorization: undefined } });
    expect(public_.status).toBe(403);
    expect(JSON.stringify(public_.headers)).not.toContain(token);
    for (const url of ['http://evil.example/', `http://nobody-agentruntime-abc123.${DOMAIN}/`, 'javascript:alert(1)', '//evil.example/', '']) {
      expect((await api.ask('POST', `/ingress/sign-in?rd=${encodeURIComponent(url)}`)).status, url).toBe(404);
    }
    const reader = { authorization: `Bearer ${await server.token('read', 'reader')}` };
    expect((await api.ask('POST', `/ingress/sign-in?rd=${encodeURIComponent(terminal)}`, { headers: reader })).status, 'reading is not enough').toBe(403);
    const nobody = { authorization: undefined };
    expect((await api.ask('POST', `/ingress/sign-in?rd=${encodeURIComponent(terminal)}`, { headers: nobody })).status).toBe(401);

    // Over with what it came from.
    await server.command('token', 'create', '--name', 'visitor', '--scope', 'write').then(async ({ stdout }) => {
      const asVisitor = { authorization: `Bearer ${stdout.trim()}` };
      const led = await api.ask('POST', `/ingress/sign-in?rd=${encodeURIComponent(application)}`, { headers: asVisitor });
      const visitor = (await ask(led.headers.location!)).headers['set-cookie']![0]!.split(';')[0]!;
      expect((await ask(application, { cookie: visitor })).status).toBe(200);
      await server.command('token', 'revoke', await server.tokenId('visitor'));
      await until('the cookie of a revoked token to open nothing', async () => (await ask(application, { cookie: visitor })).status === 302);
    });
  } finally {
    await end(all);
  }
});

test('a share opens the application’s Ingress host to whom it says, and the terminal’s to nobody', CLUSTER, async ({ ownServer, browser }) => {
  test.setTimeout(150_000);
  test.skip(lackOfNginx() !== undefined, lackOfNginx());
  const github = await GitHub.start();
  const all = await world(ownServer, undefined, github.accounts('*'));
  const { server, api, project, application, terminal } = all;
  const share = `/api/projects/${project.id}/ports/3000/share`;
  const preview = (path: string, host: string, method = 'GET', headers: Record<string, string> = {}, raw?: string) =>
    api.ask(method, path, { headers: { host, authorization: undefined, 'content-type': undefined, ...headers }, raw });
  try {
    // Somebody else, who is signed in: what is not theirs is not there.
    const foreign = { ...(await github.signIn(server, { id: 2, login: 'mallory' })), authorization: undefined };
    expect((await api.ask('GET', '/api/me', { headers: foreign })).body.name).toBe('mallory');
    expect((await api.ask('GET', `/api/projects/${project.id}`, { headers: foreign })).status).toBe(404);
    const closed = async (what: string, urls: string[]) => {
      for (const url of urls) {
        const asked = await api.ask('POST', `/ingress/sign-in?rd=${encodeURIComponent(url)}`, { headers: foreign });
        expect(asked.status, `${what}: a code for ${url}`).toBe(404);
        expect(asked.headers.location, what).toBeUndefined();
        const answer = await ask(url, { cookie: foreign.cookie });
        expect(answer.status, `${what}: ${url} with their session of the app`).toBe(302);
        expect(answer.text, what).not.toMatch(/Boats for hire|ttyd protocol/);
        expect((await ask(url, { cookie: foreign.cookie, ...upgrade(new URL(url).origin) })).status, `${what}: a WebSocket`).toBe(302);
      }
    };
    await closed('private', [application, terminal]);
    expect((await api.ask('PUT', share, { headers: foreign, body: { audience: 'link' } })).status, 'nor may they share it').toBe(404);

    // With everybody who is signed in: they have the application, and nobody else does.
    expect((await api.ask('PUT', share, { body: { audience: 'users' } })).status).toBe(200);
    await closed('shared with users', [terminal]);
    expect((await ask(application)).status, 'nobody is signed in').toBe(302);
    const led = await api.ask('POST', `/ingress/sign-in?rd=${encodeURIComponent(application)}`, { headers: foreign });
    expect(led.status, led.text).toBe(303);
    const letIn = await ask(led.headers.location!);
    expect([letIn.status, letIn.text.includes('Boats for hire')]).toEqual([200, true]);
    const visitor = letIn.headers['set-cookie']![0]!.split(';')[0]!;
    expect((await ask(application, { cookie: visitor })).status).toBe(200);
    expect((await ask(`${application}echo`, { cookie: visitor, ...upgrade(new URL(application).origin) })).status).toBe(101);
    expect((await ask(terminal, { cookie: visitor })).status, 'their cookie at the terminal').toBe(302);

    // By a link: at the preview’s host, and at the application’s by a page of the control plane, in a browser that nobody is signed in to.
    const { url, applicationUrl } = await api.must('PUT', share, { body: { audience: 'link' } });
    expect((await ask(application, { cookie: visitor })).status, 'over with the share').toBe(302);
    await closed('shared by a link', [application, terminal]);
    const { host, hash, pathname, origin } = new URL(url);
    const entered = await preview(pathname, host, 'POST', { origin }, hash.slice(1));
    expect(entered.status, entered.text).toBe(204);
    const linked = entered.headers['set-cookie']![0]!.split(';')[0]!;
    const shown = await preview('/', host, 'GET', { cookie: linked });
    expect([shown.status, shown.text.includes('Boats for hire')], shown.text.slice(0, 300)).toEqual([200, true]);
    for (const address of [application, terminal]) {
      expect((await ask(address, { cookie: linked })).status, 'the cookie of the preview at an Ingress host').toBe(302);
      expect((await ask(`${address}.fsa/share`, { cookie: linked })).status, 'the preview’s page is not there').toBe(302);
    }
    const guest = await browser.newContext();
    try {
      const page = await guest.newPage();
      // Whom the application answers with an error first is let in all the same, and comes again without a code.
      await api.output(project.id, 'touch ill');
      await page.goto(applicationUrl);
      await expect(page.getByRole('heading', { name: 'No boats yet' })).toBeVisible();
      await api.output(project.id, 'rm ill');
      await page.goto(application);
      await expect(page.getByRole('heading', { name: 'Boats for hire' })).toBeVisible();
      await expect(page.getByText('echo: ahoy')).toBeVisible();
      const seen = await page.evaluate(async () => (await fetch('/headers')).text());
      expect(seen, 'the application never sees the link').not.toContain(hash.slice(1));
      await page.goto(terminal);
      expect(new URL(page.url()).pathname, 'a link opens no terminal').toBe('/sign-in');
      await api.must('DELETE', share);
      await page.goto(application);
      expect(new URL(page.url()).pathname, 'over with the link').toBe('/sign-in');
    } finally {
      await guest.close();
    }
    await until('the link to be over', async () => (await preview('/', host, 'GET', { cookie: linked })).status !== 200);
    expect((await ask(application, { cookie: await cookie(api, application) })).text, 'and the owner has it as before').toContain('Boats for hire');
  } finally {
    await end(all);
    await github.stop();
  }
});
