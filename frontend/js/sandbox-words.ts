// What is said of a project's sandboxes. Pure.

/** One of them, as `GET /api/projects/{project}/sandboxes` has it. */
export interface Sandbox {
  id: string;
  main: boolean;
  branch: string | null;
  deleting: boolean;
  database: boolean;
  sandbox: { phase: string; desired: 'running' | 'stopped' | 'terminated' };
}

export type Verb = 'Start' | 'Stop' | 'Restart' | 'Terminate' | 'Remove';

export function titleOf(one: Sandbox): string {
  return one.branch ?? 'Main sandbox';
}

/** The question before it is removed. */
export function removalOf(one: Sandbox): { heading: string; text: string; answers: { text: string; value: string; danger?: boolean }[] } {
  const gone = one.database ? 'Its files and its database go with it' : 'Its files go with it';
  return {
    heading: `Remove the sandbox ${titleOf(one)}?`,
    text: `${gone}. What was committed there and not pushed is lost. It cannot be undone.`,
    answers: [
      { text: 'Keep the sandbox', value: '' },
      { text: 'Remove the sandbox', value: 'remove', danger: true },
    ],
  };
}

/** What can be asked of it now. */
export function verbsOf({ main, deleting, sandbox: { desired } }: Sandbox): Verb[] {
  if (deleting) return [];
  const verbs: Verb[] = desired === 'running' ? ['Stop', 'Restart'] : ['Start'];
  if (desired !== 'terminated') verbs.push('Terminate');
  // The main one goes with its project.
  if (!main) verbs.push('Remove');
  return verbs;
}

/** What is said in the place of what only a sandbox that runs has, by its phase; whether it can be started there. */
export function restOf(phase: string): { heading: string; start: boolean } {
  switch (phase) {
    case 'error':
      return { heading: 'The sandbox did not start', start: true };
    case 'terminated':
      return { heading: 'The sandbox is terminated', start: true };
    case 'stopping':
      return { heading: 'The sandbox is stopping', start: false };
    case 'terminating':
      return { heading: 'The sandbox is being terminated', start: false };
    case 'creating':
    case 'starting':
    case 'updating':
    case 'running':
      return { heading: 'The sandbox is starting', start: false };
    default:
      return { heading: 'The sandbox is stopped', start: true };
  }
}
