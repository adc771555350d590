// Where the journeys run against a Kubernetes cluster: FSA_ORCHESTRATOR says so, FSA_KUBECONFIG which, and
// FSA_NAMESPACE in which namespace. `cargo xtask test --only cluster-journeys` sets them.
import { execFileSync } from 'node:child_process';

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
  const namespace = process.env['FSA_NAMESPACE'] ?? 'default';
  return execFileSync('kubectl', ['--kubeconfig', process.env['FSA_KUBECONFIG']!, '-n', namespace, ...args], { encoding: 'utf8' });
}

/** What of these kinds an installation has, as `kind/name`. */
export function objectsOf(installation: string, kinds: string): string[] {
  return kubectl('get', kinds, '-l', `fullstackagent.io/installation=${installation}`, '-o', 'name')
    .split('\n')
    .filter((name) => name !== '');
}

/** Every kind of which there may be something. */
export const EVERYTHING =
  'deployments,statefulsets,pods,services,secrets,serviceaccounts,persistentvolumeclaims,ingresses.networking.k8s.io,networkpolicies.networking.k8s.io';
