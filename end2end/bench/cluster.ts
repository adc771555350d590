// What is promised of a cluster, measured on the test cluster: `cargo xtask bench cluster`. Server and driver are in its
// network, on the node that the pods share.
import type { Page } from '@playwright/test';
import { spawn } from 'node:child_process';
import http from 'node:http';
import type { Api } from '../support/api.ts';
import { residentBytes } from '../support/processes.ts';
import type { Server } from '../support/server.ts';
import { Terminal } from '../support/terminal.ts';
import { until } from '../support/until.ts';
import { installationOf, runsOf } from '../support/world.ts';
import { inBrowser } from './browser.ts';
import { type Row, generatorShare, latency, megabytes, ms, repeat, seconds } from './table.ts';

type Bench = (server: Server, api: Api) => Promise<Row[]>;

export const ON_CLUSTER: Record<string, Bench> = {
  'cluster-create': create,
  'cluster-restart': restart,
  'cluster-terminate': terminate,
  'cluster-status': status,
  'cluster-many': many,
};

/** Tries as a page does, until there is a prompt. */
async function promptOf(api: Api, id: string): Promise<void> {
  const terminal = new Terminal(api, id);
  await terminal.reconnect(60_000);
  await until('a prompt', () => /[$#] $/.test(terminal.text()), 60_000);
  terminal.close();
}

async function create(_: Server, api: Api): Promise<Row[]> {
  const one = async (n: number): Promise<number> => {
    const start = performance.now();
    const { id } = await api.create(`Create ${n}`, { database: true });
    await promptOf(api, id);
    const took = performance.now() - start;
    await api.remove(id, 90_000);
    return took;
  };
  await one(0);
  const { value, share } = await generatorShare(() => repeat(10, one));
  return [latency('create, with volume and database, to the first prompt', value, share, { p50: 6_000 }, seconds)];
}

async function restart(_: Server, api: Api): Promise<Row[]> {
  const { id } = await api.running('Restart');
  const one = async (): Promise<number> => {
    const start = performance.now();
    const { generation } = await api.act(id, 'restart');
    await until('the new run', async () => {
      const { phase, generation: now } = await api.sandbox(id);
      return phase === 'Running' && now >= generation;
    }, 60_000);
    await promptOf(api, id);
    return performance.now() - start;
  };
  await one();
  const { value, share } = await generatorShare(() => repeat(10, one));
  await api.remove(id, 90_000);
  return [latency('restart, to the first prompt', value, share, { p50: 2_000 }, seconds)];
}

async function terminate(server: Server, api: Api): Promise<Row[]> {
  const { id } = await api.running('Terminate');
  const one = async (): Promise<number> => {
    await api.reaches(id, 'Running', 60_000);
    const start = performance.now();
    await api.terminate(id);
    await until('no pod to be left', () => runsOf(server).length === 0, 60_000);
    const took = performance.now() - start;
    await api.reaches(id, 'Terminated', 60_000);
    await api.act(id, 'start');
    return took;
  };
  await one();
  const { value, share } = await generatorShare(() => repeat(10, one));
  await api.reaches(id, 'Running', 60_000);
  await api.remove(id, 90_000);
  return [latency('terminate, to no pod left (kubectl looks every 100 ms)', value, share, { p99: 3_000 }, seconds)];
}

/**
 * From the moment that a watch of our own tells of a change of a pod, to the server-sent event with it, and to the DOM of the
 * list of projects in Chromium.
 */
async function status(server: Server, api: Api): Promise<Row[]> {
  return await inBrowser(server, async (page) => {
    await page.goto(`${server.origin}/`);
    await page.waitForFunction(() => performance.now() > 1500);
    // The page notes by the machine's clock when it showed a phase: `timeOrigin` is by the same clock here.
    await page.evaluate(() => {
      const shown: { at: number; phase: string }[] = ((window as any).__shown = []);
      const look = () => {
        const at = performance.timeOrigin + performance.now();
        for (const pill of document.querySelectorAll('[data-phase]')) {
          const phase = pill.getAttribute('data-phase')!;
          if (shown.at(-1)?.phase !== phase) shown.push({ at, phase });
        }
      };
      new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ['data-phase'] });
    });
    return await statusSeen(server, api, page);
  });
}

async function statusSeen(server: Server, api: Api, page: Page): Promise<Row[]> {
  const events: { at: number; phase: string }[] = [];
  const headers = { authorization: `Bearer ${api.token}`, host: new URL(api.origin).host };
  const stream = http.get({ host: '127.0.0.1', port: api.port, path: '/api/events', headers, agent: false }, (answer) => {
    answer.on('error', () => undefined);
    answer.on('data', (chunk: Buffer) => {
      for (const [, phase] of chunk.toString().matchAll(/"phase":"([A-Za-z]+)"/g)) events.push({ at: performance.now(), phase: phase! });
    });
  });
  stream.on('error', () => undefined);
  const namespace = process.env['FSA_NAMESPACE']!;
  const selector = encodeURIComponent(`fullstackagent.io/installation=${installationOf(server)}`);
  const watch = spawn('kubectl', ['--kubeconfig', process.env['FSA_KUBECONFIG']!, 'get', '--raw', `/api/v1/namespaces/${namespace}/pods?watch=1&labelSelector=${selector}`], { stdio: ['ignore', 'pipe', 'ignore'] });
  const ends: number[] = [];
  let held = '';
  watch.stdout.on('data', (chunk: Buffer) => {
    const at = performance.now();
    held += chunk.toString();
    const lines = held.split('\n');
    held = lines.pop()!;
    for (const line of lines) {
      const { object } = JSON.parse(line);
      if (object.status?.containerStatuses?.some(({ state }: any) => state.terminated !== undefined)) ends.push(at);
    }
  });
  const inDom: number[] = [];
  const one = async (id: string): Promise<number> => {
    await api.reaches(id, 'Running', 120_000);
    // One project at a time: its pill is the only one.
    await page.waitForFunction(() => {
      const phases = Array.from(document.querySelectorAll('[data-phase]'), (pill) => pill.getAttribute('data-phase'));
      return phases.length > 0 && phases.every((phase) => phase === 'running');
    }, undefined, { timeout: 30_000 });
    await until('the streams to be quiet', async () => {
      const before = events.length + ends.length;
      await new Promise((resolve) => setTimeout(resolve, 700));
      return events.length + ends.length === before;
    }, 30_000);
    events.length = ends.length = 0;
    await page.evaluate(() => void ((window as any).__shown.length = 0));
    // The container's first process ends: the kubelet says so, then we do.
    await api.exec(id, 'kill -TERM 1').catch(() => undefined);
    const told = await until('the event', () => events.find(({ phase }) => phase !== 'Running'), 30_000);
    const seen = await until('the watch', () => ends[0], 30_000);
    const look = () => page.evaluate(() => ((window as any).__shown as { at: number; phase: string }[]).find(({ phase }) => phase !== 'running')?.at);
    const shown = await until('the page', look, 30_000);
    inDom.push(Math.max(0, shown - performance.timeOrigin - seen));
    // Another pod: the kubelet waits longer and longer with one that ends.
    await api.act(id, 'restart');
    return Math.max(0, told.at - seen);
  };
  try {
    const { value, share } = await generatorShare(async () => {
      const samples: number[] = [];
      // Five ends by itself are a crash loop: it is started no more.
      for (let n = 0; n < 4; n++) {
        const { id } = await api.create(`Status ${n}`, { database: false });
        samples.push(...(await repeat(3, () => one(id))));
        await api.remove(id, 90_000);
      }
      return samples;
    });
    return [
      latency('a pod’s status, as a watch has it, to its server-sent event', value, share, { p99: 150 }, ms),
      latency('a pod’s status, as a watch has it, to the DOM', inDom, '', { p99: 150 }, ms),
    ];
  } finally {
    watch.kill();
    stream.destroy();
    server.allow(/ended by itself/);
  }
}

/** Fifty small sandboxes on the one node, all reachable, while one is worked in. */
async function many(server: Server, api: Api): Promise<Row[]> {
  const COUNT = 50;
  const start = performance.now();
  const { value: ids, share } = await generatorShare(async () => {
    const made = await Promise.all(Array.from({ length: COUNT }, (_, n) => api.create(`Many ${n}`, { database: false, preset: 'small' })));
    for (const { id } of made) await api.reaches(id, 'Running', 300_000);
    return made.map(({ id }) => id);
  });
  const up = performance.now() - start;
  const memory = residentBytes(server.pid);
  const terminal = await Terminal.open(api, ids[0]!);
  await terminal.prompt();
  terminal.type("stty raw -echo; printf 'rea''dy'; cat\r");
  await until('cat', () => terminal.text().endsWith('ready'));
  const trips: number[] = [];
  let reaching = true;
  const worked = (async () => {
    while (reaching) {
      const end = terminal.end;
      const begun = performance.now();
      terminal.type('x');
      while (terminal.end === end) await new Promise((resolve) => setImmediate(resolve));
      trips.push(performance.now() - begun);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  const reached: number[] = [];
  for (const id of ids) {
    const begun = performance.now();
    if ((await api.output(id, 'echo $((6*7))')) !== '42\n') throw new Error(`${id} does not answer`);
    reached.push(performance.now() - begun);
  }
  reaching = false;
  await worked;
  terminal.close();
  await Promise.all(ids.map((id) => api.remove(id, 300_000)));
  return [
    { what: `${COUNT} small sandboxes, asked for at once, all running`, p50: seconds(up), p99: '', generator: share, target: '', met: undefined },
    latency('a command in each of them', reached, '', {}, ms),
    latency('a key’s way meanwhile in one of them', trips, '', {}, ms),
    { what: 'the server’s memory with them', p50: megabytes(memory), p99: '', generator: '', target: '', met: undefined },
  ];
}
