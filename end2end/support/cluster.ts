// Where the journeys run against a Kubernetes cluster: FSA_ORCHESTRATOR says so, FSA_KUBECONFIG which, and
// FSA_NAMESPACE in which namespace. `cargo xtask test --only cluster-journeys` sets them.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
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
  return execFileSync('kubectl', kubectlArguments(...args), { encoding: 'utf8' });
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
