// Benchmarks of what is passed on and of many who ask: previews beside the app itself and beside nginx as a proxy, the
// API with thousands of projects, and a thousand listeners.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { Api } from '../support/api.ts';
import { residentBytes } from '../support/processes.ts';
import type { Server } from '../support/server.ts';
import { until } from '../support/until.ts';
import { controlPlane } from '../support/world.ts';
import { type Row, generatorShare, latency, megabytes, ms } from './table.ts';

const run = promisify(execFile);

// ---- previews

/** What is measured with: they are Debian's. */
const TOOLS = ['wrk', 'nginx', 'curl'];
const LARGE = 1_000_000_000;

/** nginx as the app: inside the sandbox, and outside with a proxy before it. */
function configuration(folder: string, servers: string): string {
  return `daemon off; pid ${folder}/pid; error_log ${folder}/log; worker_processes 1;
    events { worker_connections 1024; }
    http { access_log off; sendfile on; keepalive_requests 1000000;
      client_body_temp_path ${folder}/t1; proxy_temp_path ${folder}/t2; fastcgi_temp_path ${folder}/t3; uwsgi_temp_path ${folder}/t4; scgi_temp_path ${folder}/t5;
      ${servers} }`;
}

const site = (listen: string, folder: string) => `server { listen ${listen}; location / { root ${folder}; } location = / { return 200 "Boats for hire"; } }`;

/** A place to ask, as wrk and curl are told it. */
interface Place {
  url: string;
  headers: string[];
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, () => new Promise<net.Server>((resolve) => {
      const server = net.createServer().listen(0, '127.0.0.1', () => resolve(server));
    })),
  );
  const ports = servers.map((server) => (server.address() as net.AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** wrk's numbers: requests a second, and latencies in milliseconds. */
async function wrk(place: Place, connections: number): Promise<{ rate: number; p50: number; p99: number; refused: number }> {
  const threads = Math.min(2, connections);
  const args = ['-t', `${threads}`, '-c', `${connections}`, '-d', '5s', '--latency', ...place.headers.flatMap((header) => ['-H', header]), place.url];
  const { stdout } = await run('wrk', args);
  const refused = Number(/Non-2xx or 3xx responses: (\d+)/.exec(stdout)?.[1] ?? 0);
  const part = (name: string) => {
    const [, value, unit] = new RegExp(`${name}%\\s+([\\d.]+)(us|ms|s)`).exec(stdout) ?? [];
    return Number(value) * { us: 0.001, ms: 1, s: 1000 }[unit as 'us' | 'ms' | 's'];
  };
  return { rate: Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)![1]), p50: part('50'), p99: part('99'), refused };
}

async function download(place: Place): Promise<number> {
  const args = ['-sS', '-o', '/dev/null', '-w', '%{http_code} %{size_download} %{speed_download}', ...place.headers.flatMap((header) => ['-H', header]), `${place.url}large`];
  const [status, size, speed] = (await run('curl', args)).stdout.split(' ').map(Number);
  if (status !== 200 || size !== LARGE) throw new Error(`curl got ${status} and ${size} bytes`);
  return speed! / 1e6;
}

export async function preview(server: Server, api: Api): Promise<Row[]> {
  for (const tool of TOOLS) await run('sh', ['-c', `command -v ${tool}`], { env: { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin` } }).catch(() => {
    throw new Error(`${tool} is missing: apt-get install wrk nginx-light curl`);
  });
  const project = await api.create('Preview', { database: false });
  await api.reaches(project.id, 'Running');
  const inside = configuration('/home/agent/app', site('3000', '/home/agent/app'));
  const start = `mkdir -p ~/app && truncate -s ${LARGE} ~/app/large && cat > ~/app/conf && (setsid /usr/sbin/nginx -p ~/app -c ~/app/conf </dev/null >/dev/null 2>&1 &)`;
  await api.must('POST', `/api/sandbox/${project.id}/exec`, { body: { command: ['sh', '-c', start], stdin: inside } });
  await until('the app', async () => (await api.sandbox(project.id)).ports.some(({ port }) => port === 3000), 10_000);
  const visitor = await enter(api, project.id);

  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'fsa-bench-'));
  fs.chmodSync(folder, 0o755);
  const [direct, proxied] = await freePorts(2);
  const proxy = `upstream app { server 127.0.0.1:${direct}; keepalive 64; }
    server { listen 127.0.0.1:${proxied}; location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; } }`;
  fs.writeFileSync(path.join(folder, 'large'), '');
  fs.truncateSync(path.join(folder, 'large'), LARGE);
  fs.writeFileSync(path.join(folder, 'conf'), configuration(folder, site(`127.0.0.1:${direct}`, folder) + proxy).replace('worker_processes 1', 'worker_processes 2'));
  const child: ChildProcess = spawn('/usr/sbin/nginx', ['-p', folder, '-c', path.join(folder, 'conf')], { stdio: 'ignore' });
  try {
    await until('nginx', () => new Promise<boolean>((resolve) => {
      const socket = net.connect(proxied!, '127.0.0.1', () => (socket.destroy(), resolve(true))).on('error', () => resolve(false));
    }));
    const places: Record<'app' | 'nginx' | 'preview', Place> = {
      app: { url: `http://127.0.0.1:${direct}/`, headers: [] },
      nginx: { url: `http://127.0.0.1:${proxied}/`, headers: [] },
      preview: { url: `http://127.0.0.1:${server.port}/`, headers: visitor },
    };
    const rows: Row[] = [];
    const p50: Record<string, number> = {};
    for (const [name, place] of Object.entries(places)) {
      await wrk(place, 1);
      const one = await wrk(place, 1);
      const many = await wrk(place, 32);
      const rate = await download(place);
      p50[name] = one.p50;
      const own = name === 'preview';
      const over = own ? one.p50 - p50['app']! : undefined;
      const called = own ? 'a preview' : name === 'app' ? 'the app itself' : 'nginx before the app';
      rows.push(
        { what: `${called}: one request after the other`, p50: ms(one.p50), p99: ms(one.p99), generator: 'wrk', target: own ? 'p50 ≤ the app’s + 1 ms' : '', met: over === undefined ? undefined : over <= 1 },
        { what: `${called}: 32 connections${many.refused > 0 ? `, ${many.refused} REFUSED` : ''}`, p50: `${many.rate.toFixed(0)}/s`, p99: '', generator: 'wrk', target: own ? '≥ 5,000/s' : '', met: own ? many.rate >= 5000 && many.refused === 0 : undefined },
        { what: `${called}: 1 GB`, p50: `${rate.toFixed(0)} MB/s`, p99: '', generator: 'curl', target: own ? '≥ 200 MB/s' : '', met: own ? rate >= 200 : undefined },
      );
    }
    return rows;
  } finally {
    child.kill();
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** The headers of a browser that was let in. */
async function enter(api: Api, project: string): Promise<string[]> {
  const { action, code } = await api.must('POST', `/api/projects/${project}/preview`, { body: { port: 3000 } });
  const host = new URL(action).host;
  const headers = { host, origin: api.origin, 'content-type': 'application/x-www-form-urlencoded' };
  const answer = await api.ask('POST', '/.fsa/enter', { raw: `code=${code}`, headers: { ...headers, authorization: undefined } });
  const cookie = answer.headers['set-cookie']?.[0]?.split(';')[0];
  if (!cookie) throw new Error(`the preview did not open: ${answer.status} ${answer.text}`);
  return [`Host: ${host}`, `Cookie: ${cookie}`];
}

// ---- the API

const PROJECTS = 2000;
const PER_SECOND = 200;

/** Projects that never ran: what is measured is reading, and that many sandboxes are another thing. */
async function many(server: Server, api: Api): Promise<void> {
  const sql = (query: string) => controlPlane(server, query).trim();
  sql(`CREATE FUNCTION asleep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.desired = ''stopped''; RETURN NEW; END';
    CREATE TRIGGER asleep BEFORE INSERT ON sandboxes FOR EACH ROW EXECUTE FUNCTION asleep()`);
  const owner = sql('SELECT id FROM users WHERE machine_owner');
  // A user may make a hundred at once.
  for (let made = 0; made < PROJECTS; made += 100) {
    const secret = `fsa_${randomBytes(32).toString('base64url')}`;
    const hash = createHash('sha256').update(secret).digest('hex');
    sql(`WITH u AS (INSERT INTO users (id, name, created_at) VALUES (gen_random_uuid(), 'Bench', now()) RETURNING id)
      INSERT INTO api_tokens (id, user_id, name, hash, scope, created_at) SELECT gen_random_uuid(), id, 'bench', '\\x${hash}', 'write', now() FROM u`);
    const other = new Api(api.origin, secret, api.port);
    for (let n = 0; n < 100; n += 10) {
      await Promise.all(Array.from({ length: 10 }, (_, k) => other.create(`Boat ${made + n + k}`, { database: false })));
    }
  }
  sql(`DROP TRIGGER asleep ON sandboxes; DROP FUNCTION asleep; UPDATE projects SET owner_id = '${owner}'; ANALYZE`);
  await until('nothing to be reconciled', () => Number(sql('SELECT count(*) FROM sandboxes WHERE wake_at IS NOT NULL OR lease_holder IS NOT NULL')) === 0, 60_000);
}

export async function reads(server: Server, api: Api): Promise<Row[]> {
  await many(server, api);
  const ids = controlPlane(server, 'SELECT id FROM projects ORDER BY random() LIMIT 50').trim().split('\n');
  const kinds: [string, (n: number) => string][] = [
    ['a project', (n) => `/api/projects/${ids[n % ids.length]}`],
    ['a sandbox', (n) => `/api/sandbox/${ids[n % ids.length]}`],
    ['fifty projects', () => '/api/projects?limit=50'],
    ['variables', (n) => `/api/projects/${ids[n % ids.length]}/env`],
    ['fifty that happened', () => '/api/activity?limit=50'],
  ];
  const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });
  const headers = { authorization: `Bearer ${api.token}`, host: new URL(api.origin).host };
  const get = (path: string): Promise<number> =>
    new Promise((resolve, reject) => {
      const start = performance.now();
      const request = http.get({ host: '127.0.0.1', port: api.port, path, headers, agent }, (answer) => {
        answer.on('data', () => undefined);
        answer.on('end', () => (answer.statusCode === 200 ? resolve(performance.now() - start) : reject(new Error(`${path} answered ${answer.statusCode}`))));
      });
      request.on('error', reject);
    });
  for (const [, path] of kinds) await get(path(0));
  // At a pace of its own, whether answers come or not: a slow answer holds up no request behind it.
  const { value, share } = await generatorShare(async () => {
    const taken: Promise<[number, number]>[] = [];
    const start = performance.now();
    for (let n = 0; n < PER_SECOND * 20; n++) {
      const due = start + (n * 1000) / PER_SECOND;
      while (performance.now() < due) await new Promise((resolve) => (due - performance.now() > 2 ? setTimeout(resolve, 1) : setImmediate(resolve)));
      const kind = n % kinds.length;
      taken.push(get(kinds[kind]![1](n)).then((time) => [kind, time]));
    }
    return await Promise.all(taken);
  });
  agent.destroy();
  return [
    latency(`API reads, ${PER_SECOND} a second, ${PROJECTS} projects`, value.map(([, time]) => time), share, { p99: 25 }),
    ...kinds.map(([name], kind) => latency(`of these: ${name}`, value.filter(([own]) => own === kind).map(([, time]) => time), '', {})),
  ];
}

// ---- listeners

const LISTENERS = 1000;

export async function listeners(server: Server, api: Api): Promise<Row[]> {
  const project = await api.create('Listened to', { database: false });
  await api.reaches(project.id, 'Running');
  let name = '';
  let heard = 0;
  let last = 0;
  const requests: http.ClientRequest[] = [];
  const headers = { authorization: `Bearer ${api.token}`, host: new URL(api.origin).host, accept: 'text/event-stream' };
  let open = 0;
  const listen = () => {
    const request = http.get({ host: '127.0.0.1', port: api.port, path: '/api/events', headers, agent: false }, (answer) => {
      if (answer.statusCode !== 200) throw new Error(`a listener got ${answer.statusCode}`);
      open++;
      let of = '';
      let rest = '';
      answer.on('data', (chunk: Buffer) => {
        rest += chunk.toString('latin1');
        if (name !== '' && of !== name && rest.includes(name)) {
          of = name;
          heard++;
          last = performance.now();
        }
        rest = rest.slice(-2000);
      });
      answer.on('error', () => undefined);
    });
    request.on('error', () => undefined);
    requests.push(request);
  };
  try {
    // Fewer than a queue of connections holds, and fewer requests a second than a token may make.
    for (let n = 0; n < LISTENERS; n += 50) {
      for (let k = 0; k < 50; k++) listen();
      await until('listeners', () => open === n + 50, 20_000);
      const pause = performance.now() + 150;
      await until('a pause', () => performance.now() > pause);
    }
    let peak = 0;
    const one = async (n: number): Promise<number> => {
      heard = 0;
      name = `heard-${n}-${randomBytes(4).toString('hex')}`;
      const start = performance.now();
      await api.must('PATCH', `/api/projects/${project.id}`, { body: { name } });
      await until('all to hear', () => heard === LISTENERS, 10_000);
      peak = Math.max(peak, residentBytes(server.pid));
      return last - start;
    };
    await one(0);
    const { value, share } = await generatorShare(async () => {
      const samples: number[] = [];
      for (let n = 1; n <= 30; n++) samples.push(await one(n));
      return samples;
    });
    return [
      latency(`a change to the last of ${LISTENERS} listeners`, value, share, { p99: 250 }),
      { what: `the server's memory with ${LISTENERS} listeners`, p50: megabytes(peak), p99: '', generator: '', target: '≤ 120 MB', met: peak <= 120e6 },
    ];
  } finally {
    for (const request of requests) request.destroy();
  }
}
