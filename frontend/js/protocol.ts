// The terminal's wire protocol, `fsa-tty.v1`, and ttyd's own, `tty`: bytes to frames and back.
//
// Pure: no socket, no clock, no terminal. Every frame is one binary WebSocket message whose first
// byte is an ASCII digit. Offsets are absolute counts of bytes since the session (output) or this
// client (input) began, big-endian u64.
//
//     client                                server
//     '{' columns, rows, client  (first)    '3' hello, JSON
//     '0' seq  bytes   input                '0' offset bytes   output
//     '1' {columns, rows}                   '1' title          '2' preferences
//     '2' pause   '3' resume                '4' seq            input taken up to here
//     '4' offset  output consumed           '5' offset bytes   repaint: the screen as of offset
//                                           '6' {columns, rows, primary}, what changed
//                                           '7' {code}         the shell ended
//
// `tty` knows '0' to '2' of the server and '0' to '3' of the client, without offsets.

/** Subprotocols in the order they are offered. */
export const SUBPROTOCOLS = ['fsa-tty.v1', 'tty'] as const;
export type Protocol = (typeof SUBPROTOCOLS)[number];

/** What the server says first: where this client stands in the session. */
export interface Hello {
  /** Random id of this very session; another one of the same name has another id. */
  session: string;
  name: string;
  /** Output goes on from this offset. */
  start: number;
  /** Bytes before `start` that no longer exist. Where there are any, a repaint comes at `replayUntil`. */
  skipped: number;
  /** Input of this client that the session has taken. */
  inputAck: number;
  columns: number;
  rows: number;
  /** Output below this offset was made before now: its queries are not to be answered. */
  replayUntil: number;
  /** This viewer answers queries and sets the size. */
  primary: boolean;
  /** Exit code of a shell that has ended: what follows is its last output. */
  exited: number | null;
  /** The id that was asked for is gone, this is another session of the same name. */
  newSession: boolean;
}

export type ServerFrame =
  | { kind: 'hello'; hello: Hello }
  | { kind: 'output'; offset: number; bytes: Uint8Array }
  | { kind: 'repaint'; offset: number; bytes: Uint8Array }
  | { kind: 'title'; title: string }
  | { kind: 'preferences' }
  | { kind: 'input-ack'; offset: number }
  | { kind: 'status'; size: { columns: number; rows: number } | undefined; primary: boolean | undefined }
  | { kind: 'ended'; code: number | null };

const encoder = new TextEncoder();
const decoder = new TextDecoder();

const digit = (character: string) => character.charCodeAt(0);
const INPUT = digit('0');
const CONSUMED = digit('4');
export const PAUSE = encoder.encode('2');
export const RESUME = encoder.encode('3');

/** The first frame a client sends. `AuthToken` is what stock ttyd insists on. */
export function encodeFirst(protocol: Protocol, columns: number, rows: number, client: string): Uint8Array {
  return encoder.encode(
    JSON.stringify(protocol === 'tty' ? { AuthToken: '', columns, rows } : { columns, rows, client }),
  );
}

export function encodeInput(protocol: Protocol, seq: number, bytes: Uint8Array): Uint8Array {
  const head = protocol === 'tty' ? 1 : 9;
  const frame = new Uint8Array(head + bytes.length);
  frame[0] = INPUT;
  if (head === 9) writeOffset(frame, seq);
  frame.set(bytes, head);
  return frame;
}

export function encodeResize(columns: number, rows: number): Uint8Array {
  return encoder.encode('1' + JSON.stringify({ columns, rows }));
}

export function encodeConsumed(offset: number): Uint8Array {
  const frame = new Uint8Array(9);
  frame[0] = CONSUMED;
  writeOffset(frame, offset);
  return frame;
}

/**
 * Reads one frame. The bytes of output are a view into `message`, not a copy.
 *
 * Returns `undefined` for what this client does not know, so that a newer server may say more.
 *
 * # Errors
 * Throws on a frame that breaks its own form: too short, not JSON, or an offset past 2^53.
 */
export function decode(protocol: Protocol, message: ArrayBuffer | string): ServerFrame | undefined {
  const frame = typeof message === 'string' ? encoder.encode(message) : new Uint8Array(message);
  if (frame.length === 0) throw new Error('an empty terminal frame');
  const kind = String.fromCharCode(frame[0]!);
  if (kind === '1') return { kind: 'title', title: decoder.decode(frame.subarray(1)) };
  if (kind === '2') return { kind: 'preferences' };
  if (protocol === 'tty') {
    return kind === '0' ? { kind: 'output', offset: -1, bytes: frame.subarray(1) } : undefined;
  }
  switch (kind) {
    case '0':
      return { kind: 'output', offset: readOffset(frame), bytes: frame.subarray(9) };
    case '3':
      return { kind: 'hello', hello: readHello(json(frame)) };
    case '4':
      return { kind: 'input-ack', offset: readOffset(frame) };
    case '5':
      return { kind: 'repaint', offset: readOffset(frame), bytes: frame.subarray(9) };
    case '6': {
      const told = json(frame);
      const sized = typeof told['columns'] === 'number' && typeof told['rows'] === 'number';
      return {
        kind: 'status',
        size: sized ? { columns: cells(told['columns'], 80), rows: cells(told['rows'], 24) } : undefined,
        primary: typeof told['primary'] === 'boolean' ? told['primary'] : undefined,
      };
    }
    case '7': {
      const code = json(frame)['code'];
      return { kind: 'ended', code: typeof code === 'number' ? code : null };
    }
    default:
      return undefined;
  }
}

function readHello(told: Record<string, unknown>): Hello {
  if (typeof told['session'] !== 'string') throw new Error('a hello without its session');
  const start = count(told['start']);
  const exited = told['exited'];
  return {
    session: told['session'],
    name: String(told['name'] ?? ''),
    start,
    skipped: count(told['skipped']),
    inputAck: count(told['inputAck']),
    columns: cells(told['columns'], 80),
    rows: cells(told['rows'], 24),
    replayUntil: Math.max(start, count(told['replayUntil'])),
    primary: told['primary'] !== false,
    exited: typeof exited === 'number' ? exited : null,
    newSession: told['newSession'] === true,
  };
}

function json(frame: Uint8Array): Record<string, unknown> {
  const value: unknown = JSON.parse(decoder.decode(frame.subarray(1)));
  if (typeof value !== 'object' || value === null) throw new Error('a terminal frame that is no object');
  return value as Record<string, unknown>;
}

function count(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : 0;
}

/** xterm.js cannot be narrower than two columns; more than a thousand is no screen. */
function cells(value: unknown, otherwise: number): number {
  return typeof value === 'number' && value >= 1 ? Math.min(Math.floor(value), 1000) : otherwise;
}

function readOffset(frame: Uint8Array): number {
  if (frame.length < 9) throw new Error('a terminal frame without its offset');
  const view = new DataView(frame.buffer, frame.byteOffset + 1, 8);
  const offset = view.getUint32(0) * 2 ** 32 + view.getUint32(4);
  if (!Number.isSafeInteger(offset)) throw new Error('a terminal offset past 2^53');
  return offset;
}

function writeOffset(frame: Uint8Array, offset: number): void {
  const view = new DataView(frame.buffer, frame.byteOffset + 1, 8);
  view.setUint32(0, Math.floor(offset / 2 ** 32));
  view.setUint32(4, offset >>> 0);
}
