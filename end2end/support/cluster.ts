// Where the journeys run against a Kubernetes cluster: FSA_ORCHESTRATOR says so, FSA_KUBECONFIG which, and
// FSA_NAMESPACE in which namespace. `cargo xtask test --only cluster-journeys` sets them.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { until } from './until.ts';

/** Whether sandboxes are pods. */
export const onCluster = process.env['FSA_ORCHESTRATOR'] === 'kubernetes';

/** Journeys with this tag look at processes, folders or limits of one machine; on a cluster they are left out. */
export const ONE_MACHINE = { tag: '@one-machine' };

/** Journeys with this tag are about a cluster, and are left out on one machine. */
export const CLUSTER = { tag: '@cluster' };

/** An address of this machine that pods reach. */
export const nodeAddress = () => process.env['FSA_NODE_ADDRESS'] ?? '127.0.0.1';

/** The answer of `kubectl`, in the namespace of the tests. */
export function kubectl(...args: string[]): string {
  // It names each object that it deletes: thousands, in a benchmark.
  return execFileSync('kubectl', kubectlArguments(...args), { encoding: 'utf8', maxBuffer: 64 << 20 });
}

/** What `kubectl` is called with, for who calls it otherwise. */
export function kubectlArguments(...args: string[]): string[] {
  return ['--kubeconfig', process.env['FSA_KUBECONFIG']!, '-n', process.env['FSA_NAMESPACE'] ?? 'default', ...args];
}

/** Makes an object, or makes it as it is given. */
export function apply(object: unknown): void {
  execFileSync('kubectl', kubectlArguments('apply', '-f', '-'), { input: JSON.stringify(object) });
}

/** What of these kinds an installation has, as `kind/name`. */
export function objectsOf(installation: string, kinds: string): string[] {
  return kubectl('get', kinds, '-l', `fullstackagent.io/installation=${installation}`, '-o', 'name')
    .split('\n')
    .filter((name) => name !== '');
}

/** The pod of a sandbox that is not ending: which it is, and how much memory it may have. */
export function podOf(name: string): { uid: string; memory: string } {
  const { items } = JSON.parse(kubectl('get', 'pods', '-l', `app=${name}`, '-o', 'json'));
  const [pod, ...more] = items.filter(({ metadata }: any) => metadata.deletionTimestamp === undefined);
  if (pod === undefined || more.length > 0) throw new Error(`${items.length} pods of ${name}, not one`);
  return { uid: pod.metadata.uid, memory: pod.spec.containers[0].resources.limits.memory };
}

/** Every kind of which there may be something. */
export const EVERYTHING =
  'deployments,statefulsets,pods,services,secrets,serviceaccounts,persistentvolumeclaims,ingresses.networking.k8s.io,networkpolicies.networking.k8s.io';

interface Rule {
  apiGroups: string[];
  resources: string[];
  verbs: string[];
}

/** An account of the tests' namespace that may what the chart's Role gives, and less when a test says so. */
export class Narrow {
  /** Its kubeconfig. */
  readonly file: string;
  readonly #name = `narrow-${process.pid}-${Date.now() % 1_000_000}`;
  /** One resource each. */
  readonly #rules: Rule[];
  /** What it may not, as verb and resource, until it has the whole Role: at first anything. */
  #withdrawn: [string, string][] = [['create', 'deployments']];

  private constructor(file: string, rules: Rule[]) {
    this.file = file;
    this.#rules = rules;
  }

  /** Makes the account, and its kubeconfig in a folder. */
  static async make(folder: string): Promise<Narrow> {
    const chart = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../deploy/chart');
    const namespace = process.env['FSA_NAMESPACE'] ?? 'default';
    const role = execFileSync(
      process.env['FSA_HELM']!,
      ['template', 'fsa', chart, '--namespace', namespace, '--show-only', 'templates/role.yaml', '--set', 'databases.provider=statefulset'],
      { encoding: 'utf8', env: { ...process.env, KUBECONFIG: '' }, stdio: ['ignore', 'pipe', 'pipe'] },
    );
    // Read by kubectl: one object of JSON after another, or a list.
    const read = execFileSync('kubectl', kubectlArguments('create', '--dry-run=client', '-o', 'json', '-f', '-'), { input: role, encoding: 'utf8' });
    const objects = read.split(/^(?=\{)/m).map((text) => JSON.parse(text));
    const { rules } = objects.flatMap((object) => object.items ?? [object]).find(({ kind }) => kind === 'Role') as { rules: Rule[] };
    const each = rules.flatMap(({ apiGroups, resources, verbs }) =>
      apiGroups.flatMap((group) => resources.map((resource) => ({ apiGroups: [group], resources: [resource], verbs }))),
    );
    fs.mkdirSync(folder, { recursive: true });
    const narrow = new Narrow(path.join(folder, 'narrow.kubeconfig'), each);
    const name = narrow.#name;
    kubectl('create', 'serviceaccount', name);
    narrow.#give(each);
    apply({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'RoleBinding',
      metadata: { name },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name },
      subjects: [{ kind: 'ServiceAccount', name, namespace }],
    });
    const token = kubectl('create', 'token', name, '--duration=2h').trim();
    const config = JSON.parse(kubectl('config', 'view', '--raw', '--minify', '--flatten', '-o', 'json'));
    for (const { user } of config.users) for (const key of Object.keys(user)) delete user[key];
    for (const { user } of config.users) user.token = token;
    fs.writeFileSync(narrow.file, JSON.stringify(config), { mode: 0o600 });
    await narrow.whole();
    return narrow;
  }

  #give(rules: Rule[]): void {
    apply({ apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', metadata: { name: this.#name }, rules });
  }

  /** Whether it may, as the apiserver says: that sees a changed Role a moment later. */
  #may(verb: string, resource: string): boolean {
    const [kind, part] = resource.split('/');
    const more = part === undefined ? [] : [`--subresource=${part}`];
    try {
      const args = ['--kubeconfig', this.file, '-n', process.env['FSA_NAMESPACE'] ?? 'default', 'auth', 'can-i', verb, kind!, ...more];
      return execFileSync('kubectl', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim() === 'yes';
    } catch {
      // It ends with 1 where the answer is no.
      return false;
    }
  }

  /** Withdraws these verbs on a resource, and waits until that counts. */
  async without(resource: string, ...verbs: string[]): Promise<void> {
    const left = this.#rules.map((rule) => (rule.resources[0] === resource ? { ...rule, verbs: rule.verbs.filter((verb) => !verbs.includes(verb)) } : rule));
    this.#give(left.filter((rule) => rule.verbs.length > 0));
    this.#withdrawn = verbs.map((verb) => [verb, resource]);
    await until(`${verbs} on ${resource} to be withdrawn`, () => verbs.every((verb) => !this.#may(verb, resource)));
  }

  /** Gives all that the chart's Role has, and waits until that counts. */
  async whole(): Promise<void> {
    this.#give(this.#rules);
    await until('the whole Role to count', () => this.#withdrawn.every(([verb, resource]) => this.#may(verb, resource)));
  }

  end(): void {
    for (const kind of ['rolebinding', 'role', 'serviceaccount']) kubectl('delete', kind, this.#name, '--ignore-not-found');
  }
}

/** What stands before the apiserver and notes what it is asked: `kubectl proxy` behind it signs in. */
export class Counter {
  readonly #proxy: ChildProcess;
  readonly #server: http.Server;
  #asked: string[] = [];
  /** Both ends of each port-forward that is open. */
  readonly #forwards = new Set<net.Socket>();
  /** How many port-forwards there ever were. */
  forwarded = 0;
  /** Watches by what they are of: how many are open, and the most that ever were. */
  readonly #watches = new Map<string, { open: number; most: number }>();

  private constructor(proxy: ChildProcess, to: number) {
    this.#proxy = proxy;
    const host = `127.0.0.1:${to}`;
    this.#server = http.createServer((ask, answer) => {
      this.#asked.push(`${ask.method} ${ask.url}`);
      const closed = this.#opened(ask.url ?? '');
      answer.on('close', closed);
      const { authorization: _, ...headers } = ask.headers;
      const onward = http.request({ host: '127.0.0.1', port: to, method: ask.method, path: ask.url, headers: { ...headers, host } }, (back) => {
        answer.writeHead(back.statusCode ?? 502, back.headers);
        // A watch has answered before anything happens.
        answer.flushHeaders();
        // Before whoever asked can ask again.
        back.on('end', closed);
        back.on('error', () => answer.destroy());
        back.pipe(answer);
      });
      onward.on('error', () => answer.destroy());
      answer.on('close', () => onward.destroy());
      ask.pipe(onward);
    });
    // A port-forward, where pods are not reached by their addresses.
    this.#server.on('upgrade', (ask, inward, head) => {
      this.#asked.push(`${ask.method} ${ask.url}`);
      const outward = net.connect(to, '127.0.0.1', () => {
        const lines = [`${ask.method} ${ask.url} HTTP/1.1`];
        for (let n = 0; n < ask.rawHeaders.length; n += 2) {
          const name = ask.rawHeaders[n]!;
          lines.push(`${name}: ${name.toLowerCase() === 'host' ? host : ask.rawHeaders[n + 1]}`);
        }
        outward.write(`${lines.join('\r\n')}\r\n\r\n`);
        outward.write(head);
        inward.pipe(outward);
        outward.pipe(inward);
      });
      this.forwarded++;
      for (const socket of [inward as net.Socket, outward]) {
        this.#forwards.add(socket);
        socket.on('error', () => undefined);
        socket.on('close', () => {
          this.#forwards.delete(socket);
          inward.destroy();
          outward.destroy();
        });
      }
    });
  }

  static async start(): Promise<Counter> {
    const proxy = spawn('kubectl', kubectlArguments('proxy', '--port=0'), { stdio: ['ignore', 'pipe', 'inherit'] });
    const to = await new Promise<number>((resolve, reject) => {
      let said = '';
      proxy.stdout.on('data', (chunk: Buffer) => {
        said += chunk.toString();
        const serves = /127\.0\.0\.1:(\d+)/.exec(said);
        if (serves) resolve(Number(serves[1]));
      });
      proxy.once('exit', () => reject(new Error(`kubectl proxy ended: ${said}`)));
    });
    const counter = new Counter(proxy, to);
    await new Promise<void>((resolve) => counter.#server.listen(0, '127.0.0.1', resolve));
    return counter;
  }

  /** A kubeconfig by which it is asked. */
  get kubeconfig(): object {
    const { port } = this.#server.address() as net.AddressInfo;
    const name = 'counted';
    return {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': name,
      clusters: [{ name, cluster: { server: `http://127.0.0.1:${port}` } }],
      users: [{ name, user: {} }],
      contexts: [{ name, context: { cluster: name, user: name, namespace: process.env['FSA_NAMESPACE'] ?? 'default' } }],
    };
  }

  /** Counts a watch that is open from now on, and gives what says that it is closed. */
  #opened(asked: string): () => void {
    const { pathname, searchParams } = new URL(asked, 'http://apiserver');
    if (searchParams.get('watch') !== 'true') return () => undefined;
    // It ends after half a minute, and is begun again where it was: what it began with says nothing of which it is.
    const of = `${pathname} ${searchParams.get('labelSelector') ?? ''}`;
    const watch = this.#watches.get(of) ?? { open: 0, most: 0 };
    this.#watches.set(of, watch);
    watch.most = Math.max(watch.most, ++watch.open);
    let over = false;
    return () => {
      if (!over) watch.open--;
      over = true;
    };
  }

  /** Each watch that there ever was, and how many of it were open at the same time. */
  watches(): Record<string, number> {
    return Object.fromEntries([...this.#watches].map(([of, { most }]) => [of, most]));
  }

  /** What was asked since the last time, without watches, which come and go by themselves, and the way into pods. */
  take(): string[] {
    const asked = this.#asked.filter((what) => !/watch=true|\/portforward/.test(what));
    this.#asked = [];
    return asked;
  }

  /** Cuts every port-forward off, as an apiserver does that ends. */
  cutForwards(): void {
    for (const socket of this.#forwards) socket.destroy();
  }

  end(): void {
    this.#server.closeAllConnections();
    this.#server.close();
    this.#proxy.kill();
  }
}
