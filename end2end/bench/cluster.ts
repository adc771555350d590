// What is promised of a cluster, measured on the test cluster: `cargo xtask bench cluster`. Server and driver are in its
// network, on the node that the pods share.
import type { Page } from '@playwright/test';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { type Api, STAGES } from '../support/api.ts';
import { Counter, kubectl } from '../support/cluster.ts';
import { hydrated } from '../support/pages.ts';
import { residentBytes } from '../support/processes.ts';
import { Server } from '../support/server.ts';
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
  'cluster-requests': requests,
  'cluster-many': many,
};

/** Tries as a page does, until there is a prompt. */
async function promptOf(api: Api, id: string): Promise<void> {
  const terminal = new Terminal(api, id);
  await terminal.reconnect(60_000);
  await until('a prompt', () => /[$#] $/.test(terminal.text()), 60_000);
  terminal.close();
}

/**
 * A sandbox in use: one that has run for some seconds, and at no moment of its kubelet's that comes again. The kubelet looks at its containers once a
 * second, and does nothing to a pod before it has looked at it since it did something last: of a pod that became ready a moment ago
 * it takes up to two seconds before it begins to end it.
 */
const inUse = () => new Promise((resolve) => setTimeout(resolve, 3_000 + Math.random() * 1_000));

/** What a start was made of: how long each stage took, by the server's own times, in milliseconds. */
class Stages {
  readonly #took: Record<string, number[]> = {};

  async note(api: Api, id: string): Promise<void> {
    for (const { stage, startedAt, endedAt } of (await api.sandbox(id)).stages) {
      if (startedAt !== null && endedAt !== null) (this.#took[stage] ??= []).push(Date.parse(endedAt) - Date.parse(startedAt));
    }
  }

  rows(what: string): Row[] {
    return STAGES.filter((stage) => this.#took[stage] !== undefined).map((stage) => latency(`${what}: ${stage}`, this.#took[stage]!, '', {}, seconds));
  }
}

async function create(_: Server, api: Api): Promise<Row[]> {
  const stages = new Stages();
  const running: number[] = [];
  const one = async (n: number): Promise<number> => {
    const start = performance.now();
    const { id } = await api.create(`Create ${n}`, { database: true });
    await promptOf(api, id);
    const took = performance.now() - start;
    await api.reaches(id, 'Running', 60_000);
    if (n > 0) {
      running.push(performance.now() - start);
      await stages.note(api, id);
    }
    await api.remove(id, 90_000);
    return took;
  };
  await one(0);
  const { value, share } = await generatorShare(() => repeat(10, (n) => one(n + 1)));
  return [
    latency('create, with volume and database, to the first prompt', value, share, { p50: 6_000 }, seconds),
    latency('to Running, with the database verified', running, '', { p50: 6_000 }, seconds),
    ...stages.rows('of that'),
  ];
}

async function restart(_: Server, api: Api): Promise<Row[]> {
  const { id } = await api.running('Restart');
  const stages = new Stages();
  const one = async (n: number): Promise<number> => {
    await inUse();
    const start = performance.now();
    const { generation } = await api.act(id, 'restart');
    await until('the new run', async () => {
      const { phase, generation: now } = await api.sandbox(id);
      return phase === 'Running' && now >= generation;
    }, 60_000);
    await promptOf(api, id);
    const took = performance.now() - start;
    if (n > 0) await stages.note(api, id);
    return took;
  };
  await one(0);
  const { value, share } = await generatorShare(() => repeat(10, (n) => one(n + 1)));
  await api.remove(id, 90_000);
  return [latency('restart, to the first prompt', value, share, { p50: 2_000 }, seconds), ...stages.rows('of that')];
}

async function terminate(server: Server, api: Api): Promise<Row[]> {
  const { id } = await api.running('Terminate');
  const one = async (): Promise<number> => {
    await api.reaches(id, 'Running', 60_000);
    await inUse();
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

/** What the apiserver is asked for a create, by whoever looks, and by a pass that finds nothing to do: a server of its own, behind what counts. */
async function requests(): Promise<Row[]> {
  const counter = await Counter.start();
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'fsa-bench-'));
  let server: Server | undefined;
  try {
    const file = path.join(folder, 'kubeconfig');
    fs.writeFileSync(file, JSON.stringify(counter.kubeconfig), { mode: 0o600 });
    const running = (server = await Server.start({ args: ['--allow-loopback-cluster'], env: { FSA_KUBECONFIG: file } }));
    const api = await running.api();
    // One before, so that every watch runs.
    const ids = [(await api.create('Before', { database: true })).id];
    await api.reaches(ids[0]!, 'Running', 60_000);
    const ofCreate: number[] = [];
    for (let n = 0; n < 5; n++) {
      counter.take();
      const { id } = await api.create(`Counted ${n}`, { database: true });
      ids.push(id);
      await api.reaches(id, 'Running', 60_000);
      ofCreate.push(counter.take().length);
    }
    const ofViewer = await inBrowser(running, async (page) => {
      await hydrated(page);
      // What the last create may still have had to tidy up.
      counter.take();
      for (const at of ['/', `/projects/${ids[0]}`, `/projects/${ids[1]}/settings`, `/projects/${ids[1]}/activity`]) {
        await page.goto(`${running.origin}${at}`);
        await hydrated(page);
      }
      return counter.take().length;
    });
    const passes = async () => Number(/^fsa_reconcile_passes_total\{outcome="ok"\} (\d+)/m.exec(await (await fetch(`http://127.0.0.1:${running.port}/metrics`)).text())?.[1] ?? 0);
    const ofPass: number[] = [];
    const { name } = await api.sandbox(ids[0]!);
    for (let n = 0; n < 5; n++) {
      const before = await passes();
      kubectl('annotate', 'deployment', name, `example.com/note=${n}`, '--overwrite');
      await until('a pass over it', async () => (await passes()) > before, 20_000);
      ofPass.push(counter.take().length);
    }
    for (const id of ids) await api.remove(id, 90_000);
    const row = (what: string, counts: number[], most: number): Row => {
      const worst = Math.max(...counts);
      return { what: `${what} (n=${counts.length})`, p50: String(counts.toSorted((a, b) => a - b)[Math.floor(counts.length / 2)]), p99: String(worst), generator: '', target: `≤ ${most}`, met: worst <= most };
    };
    return [
      row('requests to the apiserver, of a create with a database', ofCreate, 15),
      row('of an unchanged pass', ofPass, 0),
      row('of a viewer of four pages', [ofViewer], 0),
    ];
  } finally {
    await server?.destroy();
    counter.end();
    fs.rmSync(folder, { recursive: true, force: true });
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
