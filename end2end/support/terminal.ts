// A terminal viewer without a screen: `fsa-tty.v1` over a WebSocket, every byte counted.
//
// It keeps all output by its absolute offset, so that a test can say "every byte once" and mean it:
// a frame that leaves a gap or comes twice is an error at once.
import { createHash, randomUUID } from 'node:crypto';
import WebSocket from 'ws';
import type { Api } from './api.ts';
import { Final, until } from './until.ts';

export interface Hello {
  session: string;
  name: string;
  start: number;
  skipped: number;
  inputAck: number;
  columns: number;
  rows: number;
  replayUntil: number;
  primary: boolean;
  exited: number | null;
  newSession: boolean;
}

export interface TerminalOptions {
  session?: string;
  columns?: number;
  rows?: number;
  /** Whether output is told as consumed, so that more comes. */
  consume?: boolean;
  /** Keep the bytes; without it only their number and hash are kept. */
  keep?: boolean;
}

const CONSUMED_EVERY = 128 * 1024;

export class Terminal {
  readonly client = randomUUID();
  readonly session: string;
  hello: Hello | undefined;
  title = '';
  repaint: { offset: number; bytes: Buffer } | undefined;
  endedWith: number | undefined;
  closed: { code: number; reason: string } | undefined;
  /** Frames that broke the order of offsets. */
  readonly faults: string[] = [];
  /** Bytes skipped in all, as hellos said. */
  skipped = 0;
  /** The absolute offset after the last byte. */
  end = 0;
  /** The absolute offset of the first byte kept. */
  first = 0;
  received = 0;
  readonly #api: Api;
  readonly #options: Required<TerminalOptions>;
  readonly #path: string;
  readonly #hash = createHash('sha256');
  #chunks: Buffer[] = [];
  #socket: WebSocket | undefined;
  #seq = 0;
  #acked = 0;
  #unacked: { seq: number; bytes: Buffer }[] = [];
  #told = 0;
  #sessionId: string | undefined;

  constructor(api: Api, projectId: string, options: TerminalOptions = {}) {
    this.#api = api;
    this.#options = { session: 'main', columns: 120, rows: 40, consume: true, keep: true, ...options };
    this.session = this.#options.session;
    this.#path = `/api/sandbox/${projectId}/terminal`;
  }

  static async open(api: Api, projectId: string, options: TerminalOptions = {}): Promise<Terminal> {
    const terminal = new Terminal(api, projectId, options);
    // On a busy machine the agent may be a moment late after a start; a page tries again, too.
    await until(`the terminal ${terminal.session} to open`, () =>
      terminal.connect().catch((error: Error) => {
        throw /response: 503|closed: 4503/.test(error.message) ? new Error(error.message) : new Final(error.message);
      }),
    );
    return terminal;
  }

  get live(): boolean {
    return this.#socket?.readyState === WebSocket.OPEN && this.hello !== undefined;
  }

  /** Attaches, or attaches again from the byte it has. */
  async connect(deadlineMs = 15_000): Promise<Hello> {
    const again = this.#sessionId !== undefined;
    const query = new URLSearchParams({ session: this.session });
    if (again) {
      query.set('offset', String(this.end));
      query.set('id', this.#sessionId!);
    }
    this.hello = undefined;
    this.closed = undefined;
    this.repaint = undefined;
    const socket = new WebSocket(`ws://${this.#api.address}:${this.#api.port}${this.#path}?${query}`, ['fsa-tty.v1'], {
      headers: { authorization: `Bearer ${this.#api.token}`, host: new URL(this.#api.origin).host },
      perMessageDeflate: false,
      maxPayload: 16 << 20,
    });
    this.#socket = socket;
    let failure: Error | undefined;
    socket.on('error', (error) => (failure = error));
    socket.on('close', (code, reason) => {
      if (socket !== this.#socket) return;
      const closed = { code, reason: reason.toString() };
      // On a cluster, a moment after a start: it resumes at once, as a page does.
      if (code === 4409 && closed.reason.includes('shorter way')) this.reconnect().catch(() => (this.closed ??= closed));
      else this.closed = closed;
    });
    socket.on('open', () => {
      const { columns, rows } = this.#options;
      socket.send(Buffer.from(JSON.stringify({ columns, rows, client: this.client })));
    });
    socket.on('message', (data: Buffer) => this.#hear(data));
    await until(
      `the terminal ${this.session} to say hello`,
      () => {
        if (failure) throw new Final(failure.message);
        if (this.closed) throw new Final(`closed: ${this.closed.code} ${this.closed.reason}`);
        return this.hello !== undefined;
      },
      deadlineMs,
    );
    return this.hello!;
  }

  /** Attaches again as a page does: tries until it works. */
  async reconnect(deadlineMs = 30_000): Promise<Hello> {
    return await until(
      'the terminal to connect',
      () =>
        this.connect(5_000).catch((error: Error) => {
          throw new Error(error.message);
        }),
      deadlineMs,
    );
  }

  #hear(frame: Buffer): void {
    const kind = String.fromCharCode(frame[0]!);
    switch (kind) {
      case '3': {
        const hello = JSON.parse(frame.subarray(1).toString()) as Hello;
        if (this.#sessionId !== undefined && !hello.newSession && hello.session !== this.#sessionId) this.faults.push('another session, and hello does not say so');
        if (this.#sessionId === undefined || hello.newSession) {
          this.first = hello.start;
          this.#chunks = [];
        } else if (hello.start !== this.end + hello.skipped) {
          this.faults.push(`resumed at ${hello.start}, had ${this.end}, skipped ${hello.skipped}`);
        }
        this.#sessionId = hello.session;
        this.skipped += hello.skipped;
        this.end = hello.start;
        this.#told = hello.start;
        this.hello = hello;
        this.#acked = hello.inputAck;
        this.#unacked = this.#unacked.filter(({ seq, bytes }) => seq + bytes.length > hello.inputAck);
        for (const { seq, bytes } of this.#unacked) this.#sendInput(seq, bytes);
        break;
      }
      case '0': {
        const offset = Number(frame.readBigUInt64BE(1));
        const bytes = frame.subarray(9);
        if (offset !== this.end) this.faults.push(`output at ${offset}, expected ${this.end}`);
        this.end = offset + bytes.length;
        this.received += bytes.length;
        this.#hash.update(bytes);
        if (this.#options.keep) this.#chunks.push(Buffer.from(bytes));
        if (this.#options.consume && this.end - this.#told >= CONSUMED_EVERY) this.#tell();
        break;
      }
      case '1':
        this.title = frame.subarray(1).toString();
        break;
      case '4': {
        this.#acked = Number(frame.readBigUInt64BE(1));
        this.#unacked = this.#unacked.filter(({ seq, bytes }) => seq + bytes.length > this.#acked);
        break;
      }
      case '5':
        this.repaint = { offset: Number(frame.readBigUInt64BE(1)), bytes: Buffer.from(frame.subarray(9)) };
        break;
      case '7':
        this.endedWith = JSON.parse(frame.subarray(1).toString()).code;
        break;
      default:
        break;
    }
  }

  #tell(): void {
    this.#told = this.end;
    const frame = Buffer.alloc(9);
    frame.write('4');
    frame.writeBigUInt64BE(BigInt(this.end), 1);
    this.send(frame);
  }

  /** Types text; it is held and sent again until it is acknowledged. */
  type(text: string): void {
    const bytes = Buffer.from(text);
    const seq = this.#seq;
    this.#seq += bytes.length;
    this.#unacked.push({ seq, bytes });
    if (this.live) this.#sendInput(seq, bytes);
  }

  #sendInput(seq: number, bytes: Buffer): void {
    const head = Buffer.alloc(9);
    head.write('0');
    head.writeBigUInt64BE(BigInt(seq), 1);
    this.send(Buffer.concat([head, bytes]));
  }

  /** A frame as it is. */
  send(frame: Buffer | string): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(frame);
  }

  resize(columns: number, rows: number): void {
    this.send(Buffer.from(`1${JSON.stringify({ columns, rows })}`));
  }

  /** All bytes kept. */
  bytes(): Buffer {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0] ?? Buffer.alloc(0);
  }

  /** The bytes from an absolute offset on. */
  from(offset: number): Buffer {
    return this.bytes().subarray(Math.max(0, offset - this.first));
  }

  text(from = 0): string {
    return this.from(from).toString('utf8');
  }

  sha256(): string {
    return this.#hash.copy().digest('hex');
  }

  get acknowledged(): boolean {
    return this.#unacked.length === 0;
  }

  /** Waits for text after an absolute offset, and gives the match. */
  async sees(pattern: RegExp | string, from = 0, deadlineMs = 15_000): Promise<RegExpExecArray> {
    const wanted = typeof pattern === 'string' ? new RegExp(pattern.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')) : pattern;
    return await until(`${wanted} in terminal ${this.session}`, () => wanted.exec(plain(this.text(from))) ?? undefined, deadlineMs).catch((error: Error) => {
      const closed = this.closed ? `\nclosed: ${this.closed.code} ${this.closed.reason}` : '';
      throw new Error(`${error.message}${closed}\nit shows:\n${plain(this.text(from)).slice(-2000)}`);
    });
  }

  /** Waits for a shell that takes input. */
  async prompt(deadlineMs = 15_000): Promise<void> {
    await this.sees(/[$#>%] $/, 0, deadlineMs);
  }

  /** Runs a line in the shell and waits for its end; gives what it wrote. */
  async run(line: string, deadlineMs = 20_000): Promise<string> {
    const from = this.end;
    const mark = `done${Math.floor(Math.random() * 1e9)}`;
    // The mark is typed in two halves, so that its echo is not taken for the end.
    this.type(`${line}; printf '\\n%s%s\\n' '${mark.slice(0, 4)}' '${mark.slice(4)}'\r`);
    await this.sees(new RegExp(`\\n${mark}`), from, deadlineMs);
    return plain(this.text(from));
  }

  close(): void {
    this.#socket?.close();
  }

  /** Lets go without a word, as a network that vanishes does. */
  drop(): void {
    this.#socket?.terminate();
  }
}

/** Without the sequences of a terminal. */
export function plain(text: string): string {
  return text
    .replaceAll(/\x1b\][^\x07\x1b]*(\x07|\x1b\\)/g, '')
    .replaceAll(/\x1b\[[0-?]*[ -/]*[@-~]/g, '')
    .replaceAll(/\x1b[()][0-9A-B]/g, '')
    .replaceAll(/\x1b[=>78]/g, '')
    .replaceAll('\r', '');
}
