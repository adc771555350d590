// Bad input by REST: the right status, a sentence that says what and what to do, nothing half done.
import { randomUUID } from 'node:crypto';
import WebSocket from 'ws';
import { ALONE } from '../support/alone.ts';
import { type Answer, type Api, assertErrorShape } from '../support/api.ts';
import { expect, test } from '../support/fixtures.ts';
import { Terminal } from '../support/terminal.ts';
import { until } from '../support/until.ts';

/** A refusal: its status, the one shape, and words for a person. */
function refused(answer: Answer, status: number | number[], about?: RegExp): void {
  expect([status].flat(), answer.text.slice(0, 500)).toContain(answer.status);
  assertErrorShape(answer);
  if (about) expect(`${answer.body.details.message} ${answer.body.details.nextSteps.join(' ')}`).toMatch(about);
  expect(answer.text).not.toMatch(/panicked|sqlx|src\/.*\.rs|stack backtrace/);
}

const count = async (api: Api) => (await api.projects()).length;

test.describe('names', () => {
  for (const [what, name] of [
    ['empty', ''],
    ['only spaces', '  \t '],
    ['only marks that nobody sees', '\u200b\u202e\u2060'],
    ['301 characters', 'x'.repeat(301)],
    ['a line break', 'two\nlines'],
    ['NUL', 'nul\0'],
    ['escape', 'red \x1b[31m'],
  ] as const) {
    test(`a name that is ${what} is refused and makes nothing`, async ({ api }) => {
      const before = await count(api);
      refused(await api.ask('POST', '/api/projects', { body: { name } }), 422, /name/i);
      expect(await count(api)).toBe(before);
    });
  }

  for (const name of ['夜市', 'שלום עולם', '🚀', 'Ünïcödé & <b>bold</b> "quotes"', "'; drop table projects; --", '-', 'a'.repeat(300), '65535', '../../etc/passwd', 'con.', 'x'.repeat(63)]) {
    test(`any text is a name: ${JSON.stringify(name.slice(0, 30))}`, async ({ api, signedIn }) => {
      const project = await api.create(name, { database: false });
      try {
        expect(project.name).toBe(name);
        expect(project.slug).toMatch(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/);
        expect(project.slug.length).toBeLessThanOrEqual(40);
        expect(project.sandbox.name).toMatch(/^[a-z]([a-z0-9-]*)-agentruntime-[a-z0-9]{6}$/);
        expect(`65535--${project.sandbox.name}`.length).toBeLessThanOrEqual(63);
        await signedIn.goto('/');
        await expect(signedIn.getByText(name, { exact: true }).first()).toBeVisible();
        await api.reaches(project.id, 'Running');
      } finally {
        await api.remove(project.id);
      }
    });
  }

  test('the same name twice gives two slugs', async ({ api }) => {
    const one = await api.create('Twin', { database: false });
    const two = await api.create('Twin', { database: false });
    expect(one.slug).not.toBe(two.slug);
    expect(one.sandbox.name).not.toBe(two.sandbox.name);
    await api.remove(one.id);
    await api.remove(two.id);
  });
});

test('variables that are none are refused, all or nothing', async ({ api, project }) => {
  const put = (set: Record<string, unknown>) => api.ask('PUT', `/api/projects/${project.id}/env`, { body: { set } });
  for (const key of ['A=B', 'A B', 'A\nB', 'A\0B', '1A', '', 'Ä', 'A-B', 'x'.repeat(300)]) {
    refused(await put({ GOOD: '1', [key]: 'x' }), 422);
  }
  for (const key of ['DATABASE_URL', 'NODE_ENV', 'PATH', 'PGHOST', 'POSTGRES_URL', 'HOME', 'LD_PRELOAD', 'FSA_ANYTHING']) {
    refused(await put({ GOOD: '1', [key]: 'x' }), 422, new RegExp(key));
  }
  refused(await put({ GOOD: '1', LONG: 'x'.repeat(64 * 1024 + 1) }), 422, /LONG/);
  refused(await put({ GOOD: '1', NUL: 'a\0b' }), 422, /NUL/);
  refused(await put(Object.fromEntries(Array.from({ length: 9 }, (_, n) => [`V${n}`, 'x'.repeat(60 * 1024)]))), [413, 422]);
  refused(await put({ GOOD: 1 }), [400, 422]);
  const { variables } = await api.must('GET', `/api/projects/${project.id}/env`);
  expect(variables.map(({ key }: { key: string }) => key), 'nothing of a refused change is kept').not.toContain('GOOD');
  expect((await put({ lower: 'x', _under: 'y', A1: 'ä 日本 \n =' })).status).toBe(200);
  refused(await api.ask('POST', `/api/sandbox/${project.id}`, { body: { envVars: { PATH: '/' } } }), 422, /PATH/);
});

test('bodies that are none are refused', async ({ api, project }) => {
  const before = await count(api);
  const post = (raw: string, headers: Record<string, string | undefined> = {}) => api.ask('POST', '/api/projects', { raw, headers });
  for (const raw of ['', '{', 'null', '[]', '"x"', '{"name": 1}', '{"name": ["x"]}', '{}', '{"name":"x","database":"yes"}', '{"name":"x","preset":"huge"}', '{"name":"x","surprise":1}', '{"name":"x"}trailing']) {
    refused(await post(raw), [400, 422]);
  }
  refused(await api.ask('POST', '/api/projects', { raw: Buffer.from([0x7b, 0xff, 0xfe]) }), 400);
  refused(await post('name=x', { 'content-type': 'application/x-www-form-urlencoded' }), [400, 415]);
  refused(await post(JSON.stringify({ name: 'x', env: { BIG: 'x'.repeat(8 << 20) } })), 413);
  refused(await api.ask('PATCH', `/api/projects/${project.id}`, { body: { slug: 'mine' } }), [400, 422]);
  refused(await api.ask('POST', `/api/sandbox/${project.id}/exec`, { body: { command: [] } }), [400, 422]);
  refused(await api.ask('POST', `/api/sandbox/${project.id}/exec`, { body: { command: 5 } }), [400, 422]);
  expect(await count(api)).toBe(before);
});

test('ids that are none, or not yours, do not exist', async ({ api }) => {
  for (const id of ['1', 'x', randomUUID(), '00000000-0000-0000-0000-000000000000', '%00', '..%2f..', "'%20or%20'1'='1", 'é'].map(encodeURI)) {
    for (const [method, path, body] of [
      ['GET', `/api/projects/${id}`, undefined],
      ['PATCH', `/api/projects/${id}`, { name: 'x' }],
      ['DELETE', `/api/projects/${id}`, undefined],
      ['GET', `/api/sandbox/${id}`, undefined],
      ['POST', `/api/sandbox/${id}`, { envVars: {} }],
      ['DELETE', `/api/sandbox/${id}`, undefined],
      ['POST', `/api/sandbox/${id}/stop`, undefined],
      ['GET', `/api/projects/${id}/env`, undefined],
      ['POST', `/api/sandbox/${id}/exec`, { command: ['true'] }],
    ] as const) {
      refused(await api.ask(method, path, body ? { body } : {}), 404);
    }
  }
});

test('addresses and methods that are none', async ({ api }) => {
  refused(await api.ask('GET', '/api/nothing-here'), 404);
  refused(await api.ask('PATCH', '/api/projects'), 405);
  refused(await api.ask('GET', '/api/sandbox/x/exec'), [404, 405]);
});

test('without a token, with a wrong one, and with one that may only read', async ({ api, project, server }) => {
  for (const authorization of [undefined, 'Bearer', 'Bearer fsa_wrong', 'Bearer ' + 'x'.repeat(10_000), 'Basic eDp4', `Bearer ${api.token}x`]) {
    refused(await api.ask('GET', '/api/projects', { headers: { authorization } }), [401, 431]);
  }
  const authorization = `Bearer ${await server.token('read')}`;
  const ask = (method: string, path: string, body?: unknown) => api.ask(method, path, { body, headers: { authorization } });
  expect((await ask('GET', '/api/projects')).status).toBe(200);
  expect((await ask('GET', `/api/sandbox/${project.id}`)).status).toBe(200);
  refused(await ask('POST', '/api/projects', { name: 'x' }), 403);
  refused(await ask('POST', `/api/sandbox/${project.id}/stop`), 403);
  refused(await ask('DELETE', `/api/projects/${project.id}`), 403);
  refused(await ask('POST', `/api/sandbox/${project.id}/exec`, { command: ['true'] }), 403);
  expect(await handshake(api, project.id, { authorization })).toBe(403);
});

test('a revoked token ends its terminal and its event stream within a second', ALONE, async ({ api, project, server }) => {
  const secret = await server.token('write', 'to-be-revoked');
  const mine = new (api.constructor as typeof Api)(api.origin, secret, api.port);
  const terminal = await Terminal.open(mine, project.id, { session: 'revoked' });
  const stream = await fetch(`http://127.0.0.1:${api.port}/api/events`, { headers: { authorization: `Bearer ${secret}`, host: new URL(api.origin).host } });
  const reader = stream.body!.getReader();
  await reader.read();
  await server.command('token', 'revoke', await server.tokenId('to-be-revoked'));
  const start = performance.now();
  await until('the terminal to end', () => terminal.closed !== undefined, 2_000);
  await until('the stream to end', async () => (await reader.read()).done, 2_000);
  expect(performance.now() - start).toBeLessThan(1_500);
  expect((await mine.ask('GET', '/api/projects')).status).toBe(401);
  expect((await api.ask('GET', '/api/projects')).status).toBe(200);
});

test('an unknown Host and a foreign Origin are refused', async ({ api, project, signedIn, server }) => {
  for (const host of ['evil.example', 'localhost.evil.example', `evil.example:${server.port}`, '203.0.113.7']) {
    const answer = await api.ask('GET', '/api/projects', { headers: { host } });
    expect([400, 403, 404, 421], `${host}: ${answer.status}`).toContain(answer.status);
    expect(answer.text).not.toContain(project.id);
  }
  const cookies = await signedIn.context().cookies();
  const cookie = cookies.map(({ name, value }) => `${name}=${value}`).join('; ');
  const withCookie = (headers: Record<string, string | undefined>) =>
    api.ask('POST', `/api/sandbox/${project.id}/stop`, { headers: { authorization: undefined, cookie, ...headers } });
  for (const origin of ['http://evil.example', 'null', `http://3000--${project.sandbox.name}.localhost:${server.port}`, `https://localhost:${server.port}`]) {
    refused(await withCookie({ origin }), 403, /origin|page|site/i);
  }
  refused(await withCookie({ 'sec-fetch-site': 'cross-site' }), 403);
  expect((await api.sandbox(project.id)).phase, 'nothing was stopped').toBe('Running');
  expect(await handshake(api, project.id, { authorization: undefined, cookie, origin: 'http://evil.example' })).toBe(403);
  expect(await handshake(api, project.id, { authorization: undefined, cookie, origin: server.origin })).toBe(101);
});

test('127.0.0.1 leads to localhost, where the cookies are', async ({ api, server }) => {
  const answer = await api.ask('GET', '/sign-in', { headers: { host: `127.0.0.1:${server.port}`, authorization: undefined } });
  expect([301, 302, 303, 307, 308]).toContain(answer.status);
  expect(answer.headers.location).toBe(`${server.origin}/sign-in`);
});

test('asks that cannot apply say why, and a create is the same create twice', async ({ api }) => {
  const key = { 'idempotency-key': randomUUID() };
  const first = await api.ask('POST', '/api/projects', { body: { name: 'Once', database: false }, headers: key });
  const again = await api.ask('POST', '/api/projects', { body: { name: 'Once', database: false }, headers: key });
  expect(first.status).toBe(201);
  expect(again.body.id).toBe(first.body.id);
  const { id } = first.body;
  try {
    await api.reaches(id, 'Running');
    expect((await api.ask('POST', `/api/sandbox/${id}/stop`)).status).toBe(202);
    await api.reaches(id, 'Stopped');
    refused(await api.ask('POST', `/api/sandbox/${id}/stop`), 409, /stopped/i);
    refused(await api.ask('POST', `/api/sandbox/${id}/exec`, { body: { command: ['true'] } }), [409, 503]);
    expect((await api.ask('DELETE', `/api/sandbox/${id}`)).status).toBe(202);
    await api.reaches(id, 'Terminated');
    refused(await api.ask('DELETE', `/api/sandbox/${id}`), 409, /terminated/i);
  } finally {
    await api.remove(id);
  }
});

test.describe('terminal frames', () => {
  test('a frame that is none closes this viewer with a word, and the shell goes on', async ({ api, project }) => {
    const other = await Terminal.open(api, project.id);
    await other.prompt();
    for (const frame of ['', 'x', '0', '0abc', '1{', '1{"columns":"wide"}', '9', '\0\0']) {
      const viewer = await Terminal.open(api, project.id);
      viewer.send(Buffer.from(frame));
      await until(`${JSON.stringify(frame)} to close the viewer`, () => viewer.closed !== undefined);
      expect(viewer.closed!.code, frame).toBe(4400);
      expect(viewer.closed!.reason.length, frame).toBeGreaterThan(5);
    }
    expect(await other.run('echo alive-$((6*7))')).toContain('alive-42');
  });

  test('a first frame that is none, or never comes, closes', async ({ api, project }) => {
    const close = async (first?: string) => {
      const socket = dial(api, project.id, {});
      const closed = new Promise<number>((resolve) => socket.on('close', resolve));
      socket.on('open', () => first !== undefined && socket.send(Buffer.from(first)));
      socket.on('error', () => undefined);
      return await closed;
    };
    expect(await close('{"columns": }')).toBe(4400);
    expect(await close('0hello')).toBe(4400);
    expect(await close()).toBe(4408);
  });

  test('odd sizes, names and offsets', async ({ api, project }) => {
    const terminal = await Terminal.open(api, project.id, { columns: 0, rows: 0 });
    await terminal.prompt();
    terminal.resize(65535, 65535);
    terminal.resize(1, 1);
    terminal.resize(100, 30);
    await until('a size that is one', async () => (await terminal.run('stty size')).includes('30 100'));
    for (const query of ['session=../up', 'session=a/b', `session=${'x'.repeat(65)}`, 'session=main&offset=-1', 'session=main&offset=x']) {
      // Before the upgrade where it can be known, else by the close.
      expect([400, 4400], query).toContain(await handshake(api, project.id, {}, query, true));
    }
  });
});

/** Opens a WebSocket to a terminal. */
function dial(api: Api, projectId: string, headers: Record<string, string | undefined>, query = 'session=main'): WebSocket {
  const all: Record<string, string> = {};
  for (const [name, value] of Object.entries({ host: new URL(api.origin).host, authorization: `Bearer ${api.token}`, ...headers })) {
    if (value !== undefined) all[name] = value;
  }
  return new WebSocket(`ws://127.0.0.1:${api.port}/api/sandbox/${projectId}/terminal?${query}`, ['fsa-tty.v1'], { headers: all });
}

/** The status of a terminal's handshake; with `further`, the code that it closes with after that. */
async function handshake(api: Api, projectId: string, headers: Record<string, string | undefined>, query?: string, further = false): Promise<number> {
  const socket = dial(api, projectId, headers, query);
  return await new Promise((resolve, reject) => {
    socket.on('open', () => {
      if (further) return;
      socket.terminate();
      resolve(101);
    });
    socket.on('close', resolve);
    socket.on('unexpected-response', (_, response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    socket.on('error', reject);
  });
}
