// The benchmarks: what the issue promises, measured on the release binary over loopback.
//
// Each one makes what it measures, waits on conditions, and leaves nothing. p50 and p99 are of the
// samples named in `what`; `generator` is the share of one core that this driver used meanwhile, since on
// two cores it competes with what it measures.
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import zlib from 'node:zlib';
import { setTimeout } from 'node:timers/promises';
import type { Api } from '../support/api.ts';
import { cpuSeconds, peakBytes, processesOf, residentBytes } from '../support/processes.ts';
import { onCluster } from '../support/cluster.ts';
import { Server, binary } from '../support/server.ts';
import { Terminal } from '../support/terminal.ts';
import { nextLook, until } from '../support/until.ts';
import { inBrowser } from './browser.ts';
import { ON_CLUSTER } from './cluster.ts';
import { kwok } from './kwok.ts';
import { listeners, preview, reads } from './traffic.ts';
import { type Row, generatorShare, latency, machine, megabytes, repeat, seconds, table } from './table.ts';

type Bench = (server: Server, api: Api) => Promise<Row[]>;

/** What a server of one benchmark is told beside. */
const ARGUMENTS: Record<string, string[]> = { reads: ['--projects-per-user', '3000'] };

const BENCHES: Record<string, Bench> = {
  sizes,
  'first-page': firstPage,
  create,
  events,
  'to-the-dom': toTheDom,
  'round-trip': roundTrip,
  'ctrl-c': ctrlC,
  output,
  paint,
  idle,
  preview,
  reads,
  listeners,
};

/** Runs all, or those whose name has `filter` in it. Answers the exit code, which is 1 where a target was missed. */
export async function main(filter: string | undefined): Promise<number> {
  const benches = onCluster && filter === 'cluster-kwok' ? { 'cluster-kwok': kwok } : onCluster ? ON_CLUSTER : BENCHES;
  const chosen = Object.entries(benches).filter(([name]) => filter === undefined || name.includes(filter));
  if (chosen.length === 0) {
    console.error(`no benchmark has "${filter}" in its name; there are ${Object.keys(benches).join(', ')}`);
    return 2;
  }
  const about = machine();
  const rows: Row[] = [];
  for (const [name, bench] of chosen) {
    console.error(`measuring ${name}`);
    const server = await Server.start({ args: ARGUMENTS[name] ?? [] });
    try {
      rows.push(...(await bench(server, await server.api())));
    } catch (error) {
      console.error(`${name}: ${error instanceof Error ? error.stack : String(error)}`);
      rows.push({ what: `${name}: did not run to its end`, p50: '', p99: '', generator: '', target: '', met: false });
    } finally {
      const left = await server.destroy();
      if (left.length > 0) console.error(`${name} left: ${left.join('; ')}`);
    }
  }
  console.log(`${about}\n\n${table(rows)}`);
  const missed = rows.filter(({ met }) => met === false).length;
  console.log(`\n${rows.length - missed} of ${rows.length} within their targets${missed > 0 ? `, ${missed} MISSED` : ''}`);
  return missed > 0 ? 1 : 0;
}

/** A row of one number. */
function single(what: string, value: string, target: string, met: boolean | undefined, generator = ''): Row {
  return { what, p50: value, p99: '', generator, target, met };
}

// ---- what lies on disk

async function sizes(): Promise<Row[]> {
  const beside = path.dirname(binary());
  const agent = [path.join(beside, 'sandbox-agent'), path.join(beside, 'agent', 'sandbox-agent')].find((place) => fs.existsSync(place));
  if (!agent) throw new Error(`no sandbox-agent beside ${binary()}`);
  const site = process.env['FSA_SITE_DIR'] ?? path.join(beside, 'site');
  const wasm = fs.readdirSync(site, { recursive: true, encoding: 'utf8' }).find((name) => name.endsWith('.wasm'));
  if (!wasm) throw new Error(`no .wasm in ${site}`);
  const bytes = zlib.brotliCompressSync(fs.readFileSync(path.join(site, wasm)), { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 11 } }).length;
  const size = fs.statSync(agent).size;
  return [
    single('sandbox agent on disk', megabytes(size), '≤ 4 MB', size <= 4e6),
    single('WebAssembly, brotli', `${(bytes / 1000).toFixed(1)} KB`, '≤ 350 KB', bytes <= 350_000),
  ];
}

// ---- pages

async function firstPage(server: Server, api: Api): Promise<Row[]> {
  await api.create('First page', { database: false });
  const cookie = await cookieOf(server);
  // The server says itself how long a page took it; the client's time has the connection in it too.
  const own: number[] = [];
  const get = (): Promise<number> =>
    new Promise((resolve, reject) => {
      const start = performance.now();
      const headers = { host: `localhost:${server.port}`, cookie, accept: 'text/html' };
      http
        .get({ host: '127.0.0.1', port: server.port, path: '/', headers, agent: false }, (answer) => {
          if (answer.statusCode !== 200) reject(new Error(`/ answered ${answer.statusCode}`));
          const timing = /\bdur=([\d.]+)/.exec(String(answer.headers['server-timing'] ?? ''));
          if (timing) own.push(Number(timing[1]));
          answer.on('data', () => undefined);
          answer.on('end', () => resolve(performance.now() - start));
        })
        .on('error', reject);
    });
  for (let warm = 0; warm < 5; warm++) await get();
  own.length = 0;
  const { value, share } = await generatorShare(() => repeat(100, get));
  if (own.length !== value.length) throw new Error('the server did not say how long its pages took');
  return [
    latency('first page, the server’s own time', own, share, { p99: 30 }),
    latency('first page, to the client, with its connection', value, share, {}),
  ];
}

// ---- from a click to a prompt

async function create(_: Server, api: Api): Promise<Row[]> {
  const one = async (n: number): Promise<{ total: number; id: string }> => {
    const start = performance.now();
    const project = await api.create(`Create ${n}`, { database: true });
    const terminal = new Terminal(api, project.id);
    // As a page does: it tries until the terminal is there.
    await terminal.reconnect(20_000);
    await until('a prompt', () => /[$#] $/.test(terminal.text()), 20_000);
    const total = performance.now() - start;
    terminal.close();
    return { total, id: project.id };
  };
  const warm = await one(0);
  await api.remove(warm.id);
  const { value, share } = await generatorShare(async () => {
    const samples: number[] = [];
    for (let n = 1; n <= 100; n++) {
      const { total, id } = await one(n);
      samples.push(total);
      await api.remove(id);
    }
    return samples;
  });
  return [latency('create, with a database, to the first prompt', value, share, { p50: 300, p99: 800 })];
}

// ---- live state

/** Server-sent events, each handed over with the time it came. */
class Events {
  readonly seen: { at: number; data: string }[] = [];
  readonly #abort = new AbortController();

  static async open(api: Api): Promise<Events> {
    const events = new Events();
    const headers = { authorization: `Bearer ${api.token}`, accept: 'text/event-stream' };
    const request = http.get({ host: '127.0.0.1', port: api.port, path: '/api/events', headers: { ...headers, host: new URL(api.origin).host }, signal: events.#abort.signal }, (answer) => {
      let held = '';
      answer.on('data', (chunk: Buffer) => {
        const at = performance.now();
        held += chunk.toString();
        const parts = held.split('\n\n');
        held = parts.pop()!;
        for (const part of parts) {
          const data = part.split('\n').filter((line) => line.startsWith('data:')).map((line) => line.slice(5)).join('\n');
          if (data !== '') events.seen.push({ at, data });
        }
      });
      answer.on('error', () => undefined);
    });
    request.on('error', () => undefined);
    await until('the first event', () => events.seen.length > 0);
    return events;
  }

  close(): void {
    this.#abort.abort();
  }
}

async function events(_: Server, api: Api): Promise<Row[]> {
  const project = await api.create('Events', { database: false });
  await api.reaches(project.id, 'Running');
  const stream = await Events.open(api);
  // A renamed project is a changed row and nothing else. From the ask on: writing the row is in it.
  const one = async (n: number): Promise<number> => {
    const name = `Renamed ${n} ${Math.random()}`;
    const start = performance.now();
    const asked = api.must('PATCH', `/api/projects/${project.id}`, { body: { name } });
    const event = await until('the event', () => stream.seen.find(({ data }) => data.includes(name)), 5_000);
    await asked;
    stream.seen.length = 0;
    await nextLook(60);
    return event.at - start;
  };
  await one(0);
  const { value, share } = await generatorShare(() => repeat(100, one));
  stream.close();
  return [latency('an ask that changes a row, to its server-sent event', value, share, { p99: 50 })];
}

async function toTheDom(server: Server, api: Api): Promise<Row[]> {
  const project = await api.create('In the DOM', { database: false });
  await api.reaches(project.id, 'Running');
  return await inBrowser(server, async (page) => {
    await page.goto(`${server.origin}/`);
    await page.getByText('In the DOM').first().waitFor();
    await page.waitForFunction(() => performance.now() > 1500);
    // The page notes by the machine's clock when a text came; Date.now() is the same clock in both.
    await page.evaluate(() => {
      const seen: Record<string, number> = ((window as any).__seen = {});
      const look = () => {
        for (const name of document.body.textContent!.match(/dom-\d+-x/g) ?? []) seen[name] ??= performance.timeOrigin + performance.now();
      };
      new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
    });
    const one = async (n: number): Promise<number> => {
      const name = `dom-${n}-x`;
      const start = performance.timeOrigin + performance.now();
      await api.must('PATCH', `/api/projects/${project.id}`, { body: { name } });
      const at = await until('the text', async () => (await page.evaluate((name) => (window as any).__seen[name], name)) as number | undefined, 5_000);
      return at - start;
    };
    await one(0);
    const { value, share } = await generatorShare(() => repeat(50, (n) => one(n + 1)));
    return [latency('an ask that changes a row, to the DOM', value, share, { p99: 100 })];
  });
}

// ---- the terminal

async function opened(api: Api, name: string, options: ConstructorParameters<typeof Terminal>[2] = {}): Promise<{ id: string; terminal: Terminal }> {
  const project = await api.create(name, { database: false });
  await api.reaches(project.id, 'Running');
  const terminal = await Terminal.open(api, project.id, options);
  await terminal.prompt();
  return { id: project.id, terminal };
}

async function roundTrip(_: Server, api: Api): Promise<Row[]> {
  const { terminal } = await opened(api, 'Round trip');
  // `cat` on a terminal without line editing gives each byte back by itself.
  terminal.type("stty raw -echo; printf 'rea''dy'; cat\r");
  await until('cat', () => terminal.text().endsWith('ready'));
  const one = async (): Promise<number> => {
    const end = terminal.end;
    const start = performance.now();
    terminal.type('x');
    while (terminal.end === end) await new Promise((resolve) => setImmediate(resolve));
    return performance.now() - start;
  };
  await repeat(50, one);
  const { value, share } = await generatorShare(() => repeat(1000, one));
  terminal.close();
  return [latency('a key to the shell and back, the agent’s own time in it', value, share, { p99: 5 })];
}

async function ctrlC(_: Server, api: Api): Promise<Row[]> {
  const { terminal } = await opened(api, 'Ctrl-C', { session: 'yes' });
  const samples: number[] = [];
  const { share } = await generatorShare(async () => {
    for (let n = 0; n < 10; n++) {
      let from = terminal.end;
      terminal.type('yes\r');
      await until('yes to run', () => terminal.end - from > 3_000_000, 20_000);
      const start = performance.now();
      terminal.type('\x03');
      from = terminal.end;
      await until('the prompt', () => /\^C[\s\S]*[$#] $/.test(terminal.from(Math.max(from, terminal.end - 4096)).toString('latin1')), 20_000);
      samples.push(performance.now() - start);
    }
  });
  terminal.close();
  return [latency('Ctrl-C under yes, to the prompt', samples, share, { p99: 500 })];
}

const HUNDRED_MB = 100_000_000;

async function output(server: Server, api: Api): Promise<Row[]> {
  const { id, terminal: first } = await opened(api, 'Output');
  await first.run(`head -c 7500000 /dev/urandom | base64 -w 99 | head -c ${HUNDRED_MB / 10} > ten.txt`, 60_000);
  first.close();
  // Bytes are counted and not kept: a hundred megabytes in this process would be measured too.
  const terminal = await Terminal.open(api, id, { keep: false });
  const before = residentBytes(server.pid);
  let peak = before;
  const flood = async (command: string) => {
    const { value, share } = await generatorShare(async () => {
      const from = terminal.received;
      terminal.type(`${command}\r`);
      await until('the first bytes', () => terminal.received - from > 1000);
      const start = performance.now();
      await until('100 MB', () => {
        peak = Math.max(peak, residentBytes(server.pid));
        return terminal.received - from >= HUNDRED_MB;
      }, 120_000);
      return performance.now() - start;
    });
    // What is left of the last line, and the prompt.
    await setTimeout(500);
    return { rate: HUNDRED_MB / 1e6 / (value / 1000), share };
  };
  const ten = Array.from({ length: 10 }, () => 'ten.txt').join(' ');
  // As anyone would: the terminal makes CR LF of each line's end.
  const usual = await flood(`cat ${ten}`);
  // Nothing may be passed over where lines end without CR, as only programs that draw by themselves leave the terminal.
  const raw = await flood(`stty raw -echo; cat ${ten}; stty sane`);
  if (terminal.faults.length > 0) throw new Error(terminal.faults[0]);
  terminal.close();
  return [
    single('100 MB of output to a WebSocket client', `${usual.rate.toFixed(0)} MB/s`, '≥ 50 MB/s', usual.rate >= 50, usual.share),
    single('the same, terminal in raw mode', `${raw.rate.toFixed(0)} MB/s`, '', undefined, raw.share),
    single('the server’s memory meanwhile, at most', megabytes(peak), '≤ 60 MB', peak <= 60e6),
    single('the server’s memory, most ever', megabytes(peakBytes(server.pid)), '', undefined),
  ];
}

async function paint(server: Server, api: Api): Promise<Row[]> {
  const { id, terminal } = await opened(api, 'Paint', { session: 'other' });
  await terminal.run(`head -c 7500000 /dev/urandom | base64 -w 99 > ten.txt; ls -l ten.txt`, 30_000);
  terminal.close();
  return await inBrowser(server, async (page) => {
    await page.goto(`${server.origin}/projects/${id}`);
    await page.waitForFunction(() => (window as any).__terminals?.main?.state === 'live', undefined, { timeout: 20_000 });
    const samples: number[] = [];
    const { share } = await generatorShare(async () => {
      for (let n = 0; n < 5; n++) {
        const took = await page.evaluate(async (n) => {
          const handle = (window as any).__terminals.main;
          const start = performance.now();
          handle.paste(`cat ten.txt; echo painted-$((${n}+100))`);
          handle.key('Enter');
          for (;;) {
            await new Promise((resolve) => requestAnimationFrame(resolve));
            const { active } = handle.terminal.buffer;
            const last = Array.from({ length: 4 }, (_, row) => active.getLine(active.baseY + active.cursorY - row)?.translateToString(true) ?? '');
            if (last.some((line) => line.startsWith(`painted-${n + 100}`))) break;
            if (performance.now() - start > 60_000) throw new Error('not painted within a minute');
          }
          return performance.now() - start;
        }, n);
        samples.push(took);
      }
    });
    return [latency('10 MB of cat, painted in Chromium', samples, share, { p99: 2000 }, seconds)];
  });
}

// ---- at rest

const IDLE_SECONDS = 20;

async function idle(server: Server, api: Api): Promise<Row[]> {
  const made = await Promise.all(Array.from({ length: 10 }, (_, n) => api.create(`Idle ${n}`, { database: true })));
  for (const { id } of made) await api.reaches(id, 'Running', 60_000);
  const all = () => processesOf(server.dataDir);
  const postgres = (command: string) => /^postgres|postgres:|\/postgres /.test(command);
  // The first measurements of disk and ports are over by then.
  const settled = performance.now();
  await until('the start to be over', () => performance.now() - settled > 5_000, 6_000);
  const cpu = () => {
    const used = { server: 0, keepers: 0, agents: 0, database: 0, rest: 0 };
    for (const { pid, command } of all()) {
      const who = postgres(command) ? 'database'
        : pid === server.pid ? 'server'
        : /\bkeeper\b/.test(command) ? 'keepers'
        : /sandbox-agent/.test(command) ? 'agents'
        : 'rest';
      used[who] += cpuSeconds(pid);
    }
    return used;
  };
  const before = cpu();
  const start = performance.now();
  await until('some time to pass', () => performance.now() - start > IDLE_SECONDS * 1000, IDLE_SECONDS * 1000 + 5_000);
  const passed = (performance.now() - start) / 1000;
  const after = cpu();
  const of = (who: keyof typeof after) => ((after[who] - before[who]) / passed) * 100;
  const share = of('server') + of('keepers') + of('agents') + of('rest');
  const keepers = all().filter(({ command }) => /\bkeeper\b/.test(command)).map(({ pid }) => residentBytes(pid));
  const agents = all().filter(({ command }) => /^\S*sandbox-agent/.test(command)).map(({ pid }) => residentBytes(pid));
  const resident = residentBytes(server.pid);
  const keeper = Math.max(...keepers, 0);
  return [
    single(`ten idle sandboxes, of one core, over ${IDLE_SECONDS} s`, `${share.toFixed(2)} %`, '≤ 1 %', share <= 1),
    single('of that the server, keepers, agents, the rest', `${of('server').toFixed(2)}, ${of('keepers').toFixed(2)}, ${of('agents').toFixed(2)}, ${of('rest').toFixed(2)} %`, '', undefined),
    single('PostgreSQL meanwhile, of one core', `${of('database').toFixed(2)} %`, '', undefined),
    single('server, resident, with ten sandboxes', megabytes(resident), '≤ 40 MB', resident <= 40e6),
    single(`keeper, resident, the largest of ${keepers.length}`, megabytes(keeper), '≤ 12 MB', keepers.length === 10 && keeper <= 12e6),
    single(`agent, resident, the largest of ${agents.length}`, megabytes(Math.max(...agents, 0)), '≤ 10 MB', agents.length === 10 && Math.max(...agents) <= 10e6),
  ];
}

// ---- parts

/** The cookies of a browser that signed in. */
async function cookieOf(server: Server): Promise<string> {
  return await inBrowser(server, async (page) => {
    const cookies = await page.context().cookies();
    return cookies.map(({ name, value }) => `${name}=${value}`).join('; ');
  });
}
