// The REST API as a program uses it: a bearer token, JSON in and out.
import http from 'node:http';
import { Final, until } from './until.ts';

export interface Answer<T = any> {
  status: number;
  headers: http.IncomingHttpHeaders;
  text: string;
  /** The body where it is JSON. */
  body: T;
}

export interface Ask {
  body?: unknown;
  /** Sent as it is, instead of `body`. */
  raw?: string | Buffer;
  headers?: Record<string, string | undefined>;
  /** Its own address unless said; `Host` stays the public one. */
  host?: string;
  /** How long nothing may come; half a minute unless said. */
  timeoutMs?: number;
}

export interface Sandbox {
  projectId: string;
  name: string;
  phase: string;
  desired: string;
  generation: number;
  stages: { stage: string; state: string; startedAt: string | null; endedAt: string | null; deadlineAt: string | null; limitSeconds: number | null }[];
  cause: { code: string; message: string; nextSteps: string[] } | null;
  urls: { application: string | null; terminal: string | null; preview: string | null };
  ports: { port: number; process: string | null }[];
  restartPending: boolean;
}

export interface Project {
  id: string;
  name: string;
  slug: string;
  database: boolean;
  deleting: boolean;
  sandbox: Sandbox;
}

export interface Executed {
  /** 128 plus the signal where one ended it, 124 where its time was over. */
  code: number;
  signal: number | undefined;
  stdout: string;
  stderr: string;
}

export const STAGES = [
  'database-creation',
  'container-provisioning',
  'network-configuration',
  'terminal-initialization',
  'environment-ready',
];

/** One user's view of a server. */
export class Api {
  readonly origin: string;
  readonly token: string;
  readonly port: number;
  /** Where it connects to; `Host` stays the public one. */
  readonly address: string;

  constructor(origin: string, token: string, port: number, address = '127.0.0.1') {
    this.origin = origin;
    this.token = token;
    this.port = port;
    this.address = address;
  }

  /** Any request; never throws for a status. */
  async ask<T = any>(method: string, path: string, ask: Ask = {}): Promise<Answer<T>> {
    const payload = ask.raw ?? (ask.body === undefined ? undefined : JSON.stringify(ask.body));
    const headers: Record<string, string> = {};
    const timeout = ask.timeoutMs ?? 30_000;
    const wanted = {
      host: new URL(this.origin).host,
      authorization: `Bearer ${this.token}`,
      'content-type': payload === undefined ? undefined : 'application/json',
      ...ask.headers,
    };
    for (const [name, value] of Object.entries(wanted)) if (value !== undefined) headers[name] = value;
    if (payload !== undefined) headers['content-length'] = String(Buffer.byteLength(payload));
    return await new Promise((resolve, reject) => {
      const request = http.request(
        { host: ask.host ?? this.address, port: this.port, method, path, headers, agent: false, timeout },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () => {
            const text = Buffer.concat(chunks).toString();
            let body: any;
            try {
              body = JSON.parse(text);
            } catch {
              body = undefined;
            }
            resolve({ status: response.statusCode!, headers: response.headers, text, body });
          });
        },
      );
      request.on('timeout', () => request.destroy(new Error(`${method} ${path} took over ${timeout} ms`)));
      request.on('error', reject);
      request.end(payload);
    });
  }

  /** A request that must succeed. */
  async must<T = any>(method: string, path: string, ask: Ask = {}): Promise<T> {
    const answer = await this.ask<T>(method, path, ask);
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.text.slice(0, 2000)}`);
    return answer.body;
  }

  async projects(): Promise<Project[]> {
    return await this.must('GET', '/api/projects');
  }

  async project(id: string): Promise<Project> {
    return await this.must('GET', `/api/projects/${id}`);
  }

  async create(name: string, more: { database?: boolean; env?: Record<string, string>; preset?: string } = {}): Promise<Project> {
    return await this.must('POST', '/api/projects', { body: { name, ...more } });
  }

  async sandbox(id: string): Promise<Sandbox> {
    return await this.must('GET', `/api/sandbox/${id}`);
  }

  async act(id: string, verb: 'start' | 'stop' | 'restart'): Promise<Sandbox> {
    return await this.must('POST', `/api/sandbox/${id}/${verb}`);
  }

  async terminate(id: string): Promise<Sandbox> {
    return await this.must('DELETE', `/api/sandbox/${id}`);
  }

  /** Waits until the sandbox is in a phase; says its cause where it gets stuck. */
  async reaches(id: string, phase: string, deadlineMs = 30_000): Promise<Sandbox> {
    let last: Sandbox | undefined;
    return await until(
      `${id} to be ${phase}`,
      async () => {
        last = await this.sandbox(id);
        if (last.phase === phase) return last;
        throw new Error(`it is ${last.phase}${last.cause ? ` (${last.cause.code}: ${last.cause.message})` : ''}`);
      },
      deadlineMs,
    );
  }

  /** Creates a project and waits until it runs. */
  async running(name: string, more: { database?: boolean; env?: Record<string, string> } = {}): Promise<Project> {
    const project = await this.create(name, more);
    await this.reaches(project.id, 'Running');
    return project;
  }

  /** Deletes a project and waits until there is none, for as long as the product gives itself. */
  async remove(id: string, deadlineMs = 60_000): Promise<void> {
    const answer = await this.ask('DELETE', `/api/projects/${id}`);
    if (answer.status >= 300 && answer.status !== 404) throw new Error(`DELETE project: ${answer.status} ${answer.text}`);
    await until(`${id} to be gone`, async () => (await this.ask('GET', `/api/projects/${id}`)).status === 404, deadlineMs);
  }

  /** Runs a command in a sandbox to its end. */
  async exec(id: string, command: string[] | string, more: { stdin?: string; timeoutMs?: number; cwd?: string } = {}): Promise<Executed> {
    const argv = typeof command === 'string' ? ['bash', '-c', command] : command;
    const body = { command: argv, timeoutMs: 60_000, ...more };
    const answer = await until('the agent to take a command', async () => {
      const answer = await this.ask('POST', `/api/sandbox/${id}/exec`, { body, timeoutMs: body.timeoutMs + 15_000 }).catch((error: Error) => {
        throw new Final(error.message);
      });
      // It was not reached, so nothing ran: on a busy machine it may be a moment late after a start.
      if (answer.status === 503 && /its agent does not answer/.test(answer.body?.details?.message ?? '')) throw new Error(answer.text);
      return answer;
    });
    if (answer.status >= 300) throw new Error(`exec: ${answer.status} ${answer.text}`);
    const { exitCode, signal, stdout, stderr } = answer.body;
    return { code: exitCode, signal, stdout, stderr };
  }

  /** Runs a command that must succeed, and gives its output. */
  async output(id: string, command: string[] | string, more: { stdin?: string } = {}): Promise<string> {
    const done = await this.exec(id, command, more);
    if (done.code !== 0) throw new Error(`${JSON.stringify(command)} ended with ${done.code}: ${done.stderr}${done.stdout}`);
    return done.stdout;
  }
}

/** Whether a body has the one shape of every error. */
export function assertErrorShape(answer: Answer): void {
  const { body } = answer;
  const fits =
    typeof body?.error === 'string' &&
    body.error.length > 0 &&
    typeof body.details?.name === 'string' &&
    typeof body.details?.message === 'string' &&
    body.details.message.length > 0 &&
    /^[a-z0-9-]+$/.test(body.details?.code ?? '') &&
    Array.isArray(body.details?.nextSteps) &&
    body.details.stack === undefined &&
    /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(body.timestamp ?? '');
  if (!fits) throw new Error(`not the one shape of errors (${answer.status}): ${answer.text.slice(0, 1000)}`);
}
