// Two thousand sandboxes on one replica: `cargo xtask bench cluster-kwok`. Their pods are on nodes that pretend (kwok), on
// volumes that were made before; apiserver, scheduler and controllers are real. They are of stock ttyd, and one listener
// answers for all of them, at whatever address a pod has: so every one is Running to the control plane. By name alone,
// since it takes a quarter of an hour and the whole cluster.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import http from 'node:http';
import { setTimeout } from 'node:timers/promises';
import type { Api } from '../support/api.ts';
import { EVERYTHING, kubectl, nodeAddress } from '../support/cluster.ts';
import { cpuSeconds, peakBytes, residentBytes } from '../support/processes.ts';
import { Server, exited } from '../support/server.ts';
import { until } from '../support/until.ts';
import { installationOf } from '../support/world.ts';
import { type Row, latency, megabytes, ms, seconds } from './table.ts';

/** How many; fewer for a try. */
const COUNT = Number(process.env['FSA_BENCH_SANDBOXES'] ?? 2000);
const NODES = Math.max(1, Math.ceil(COUNT / 250));
const CLASS = 'fsa-kwok';
const PODS = '10.44.0.0/16';
const AT_A_TIME = 8;
const REST_SECONDS = 30;
/** All of it, on two cores that the cluster shares. */
const UP_MS = 1_200_000;

const single = (what: string, value: string, target = '', met?: boolean): Row => ({ what, p50: value, p99: '', generator: '', target, met });

function make(objects: unknown[]): void {
  // One request after the other on a connection each would take minutes.
  for (let from = 0; from < objects.length; from += 500) {
    const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects.slice(from, from + 500) });
    execFileSync('kubectl', ['--kubeconfig', process.env['FSA_KUBECONFIG']!, 'create', '-f', '-'], { input: list, stdio: ['pipe', 'ignore', 'inherit'] });
  }
}

/** Nodes that pretend, volumes for all, and what answers at their pods' addresses. Answers what ends it all. */
async function world(): Promise<() => Promise<void>> {
  const kubeconfig = process.env['FSA_KUBECONFIG']!;
  // Without leases a node tells of itself too seldom, and is taken for lost where the machine is busy.
  const flags = ['--manage-all-nodes=false', '--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake', '--node-lease-duration-seconds=40', `--cidr=${PODS}`, `--node-ip=${nodeAddress()}`];
  const kwok: ChildProcess = spawn('kwok', ['--kubeconfig', kubeconfig, ...flags], { stdio: ['ignore', 'ignore', 'ignore'] });
  const ttyd = http.createServer((_, answer) => (answer.writeHead(404), answer.end('404')));
  const end = async () => {
    const gone = exited(kwok);
    for (const kind of ['persistentvolume', 'node', 'storageclass']) {
      kubectl('delete', kind, '-l', `fullstackagent.io/bench=${CLASS}`, '--ignore-not-found', '--wait=false');
    }
    kubectl('uncordon', 'node0');
    kwok.kill('SIGTERM');
    await gone;
    ttyd.closeAllConnections();
    ttyd.close();
    execFileSync('ip', ['route', 'del', 'local', PODS, 'dev', 'lo', 'table', 'local']);
  };
  execFileSync('ip', ['route', 'replace', 'local', PODS, 'dev', 'lo', 'table', 'local']);
  try {
    await new Promise<void>((resolve, reject) => ttyd.once('error', reject).listen(7681, '0.0.0.0', resolve));
    kubectl('cordon', 'node0');
    const labels = { 'fullstackagent.io/bench': CLASS };
    make([
      { apiVersion: 'storage.k8s.io/v1', kind: 'StorageClass', metadata: { name: CLASS, labels }, provisioner: 'kubernetes.io/no-provisioner', volumeBindingMode: 'WaitForFirstConsumer' },
      ...Array.from({ length: NODES }, (_, n) => ({
        apiVersion: 'v1', kind: 'Node', metadata: { name: `fake${n}`, labels: { ...labels, 'kubernetes.io/hostname': `fake${n}` }, annotations: { 'kwok.x-k8s.io/node': 'fake' } },
      })),
      ...Array.from({ length: COUNT }, (_, n) => ({
        apiVersion: 'v1', kind: 'PersistentVolume', metadata: { name: `${CLASS}-${n}`, labels },
        spec: { storageClassName: CLASS, capacity: { storage: '10Gi' }, accessModes: ['ReadWriteOnce'], persistentVolumeReclaimPolicy: 'Retain', hostPath: { path: `/nowhere/${n}` } },
      })),
    ]);
    await until('the nodes to be ready', () => {
      const ready = kubectl('get', 'nodes', '-l', `fullstackagent.io/bench=${CLASS}`, '-o', 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}');
      return ready.split(' ').filter((status) => status === 'True').length === NODES;
    }, 60_000);
    return end;
  } catch (error) {
    await end();
    throw error;
  }
}

/** The share of one core that a process uses while nothing is asked of it, in percent. */
async function atRest(pid: number): Promise<number> {
  const [cpu, start] = [cpuSeconds(pid), performance.now()];
  await setTimeout(REST_SECONDS * 1000);
  return ((cpuSeconds(pid) - cpu) / ((performance.now() - start) / 1000)) * 100;
}

/** How many are in each phase, as the control plane counts them. */
async function phases(server: Server): Promise<Record<string, number>> {
  const text = await (await fetch(`http://127.0.0.1:${server.port}/metrics`)).text();
  return Object.fromEntries([...text.matchAll(/^fsa_sandboxes\{phase="([^"]+)"\} (\d+)/gm)].map(([, phase, count]) => [phase!.toLowerCase(), Number(count)]));
}

/** Makes a project, and answers how long the request took. A user may make five a second. */
async function create(api: Api, name: string): Promise<number> {
  for (;;) {
    const start = performance.now();
    const { status, text } = await api.ask('POST', '/api/projects', { body: { name, database: false, preset: 'small' } });
    if (status < 300) return performance.now() - start;
    if (status !== 429) throw new Error(`${status} ${text.slice(0, 500)}`);
    await setTimeout(1000);
  }
}

export async function kwok(): Promise<Row[]> {
  const end = await world();
  let server: Server | undefined;
  try {
    server = await Server.start({
      args: ['--runtime', 'ttyd', '--storage-class', CLASS, '--projects-per-user', String(COUNT + 1)],
    });
    const running = server;
    const api = await server.api();
    const empty = residentBytes(server.pid);
    const began = performance.now();
    const asked: number[] = [];
    let next = 0;
    await Promise.all(
      Array.from({ length: AT_A_TIME }, async () => {
        while (next < COUNT) {
          asked.push(await create(api, `Sandbox ${next++}`));
        }
      }),
    );
    console.error(`  ${COUNT} asked for after ${seconds(performance.now() - began)}`);
    let told = performance.now();
    await until('all to run', async () => {
      await setTimeout(1000);
      const now = await phases(running);
      if (performance.now() - told > 20_000) (told = performance.now()), console.error(`  after ${seconds(told - began)}: ${JSON.stringify(now)}`);
      return now['running'] === COUNT;
    }, UP_MS);
    const up = performance.now() - began;
    await setTimeout(10_000);
    const rest = await atRest(server.pid);
    const [resident, peak] = [residentBytes(server.pid), peakBytes(server.pid)];

    // A Service that goes while nobody looks is there again once everything was listed, and compared.
    const [name] = kubectl('get', 'services', '-l', `fullstackagent.io/installation=${installationOf(server)}`, '-o', 'name').split('\n');
    await server.stop();
    kubectl('delete', name!);
    const start = performance.now();
    await server.restart();
    const ready = performance.now() - start;
    await until('the missing Service', () => {
      try {
        return kubectl('get', name!, '-o', 'name') !== '';
      } catch {
        return false;
      }
    }, 120_000);
    const mended = performance.now() - start;
    await until('all to run again', async () => (await phases(running))['running'] === COUNT, 120_000);
    await setTimeout(10_000);
    const again = await atRest(server.pid);
    const restarted = residentBytes(server.pid);
    return [
      latency('a project, asked for', asked, '', {}, ms),
      single(`${COUNT} sandboxes, asked for ${AT_A_TIME} at a time, all running`, seconds(up)),
      single('the server’s memory before them', megabytes(empty)),
      single(`with ${COUNT}, and most ever`, `${megabytes(resident)}, ${megabytes(peak)}`, '≤ 150 MB', resident <= 150e6),
      single('after a restart', megabytes(restarted), '≤ 150 MB', restarted <= 150e6),
      single(`at rest, of one core, over ${REST_SECONDS} s`, `${rest.toFixed(2)} %`, '≤ 2 %', rest <= 2),
      single('the same after a restart', `${again.toFixed(2)} %`, '≤ 2 %', again <= 2),
      single('restart, to ready', seconds(ready)),
      single('restart, to a Service that was missing', seconds(mended), '≤ 5 s', mended <= 5_000),
    ];
  } finally {
    if (server !== undefined) {
      const ours = `fullstackagent.io/installation=${installationOf(server)}`;
      if (server.running) await server.stop();
      kubectl('delete', EVERYTHING, '-l', ours, '--wait=false', '--grace-period=0', '--force');
      await server.destroy();
    }
    await end();
  }
}
