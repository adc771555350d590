import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { backoffMs, Connection, type Events, type Socket, type StateChange } from './connection.ts';
import { SUBPROTOCOLS } from './protocol.ts';

const text = (value: string) => new TextEncoder().encode(value);
const read = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** A socket whose other end is the test. */
class Wire implements Socket {
  binaryType = '';
  protocol = 'fsa-tty.v1';
  readyState = 1;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: ArrayBuffer | string }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  sent: Uint8Array[] = [];
  closed: number | undefined;
  constructor(readonly url: URL) {}
  send(data: Uint8Array): void {
    this.sent.push(data);
  }
  close(code?: number): void {
    this.closed = code ?? 1005;
  }
  open(protocol = 'fsa-tty.v1'): this {
    this.protocol = protocol;
    this.onopen?.();
    return this;
  }
  hello(hello: Record<string, unknown> = {}): this {
    return this.json('3', { session: 'A', start: 0, inputAck: 0, replayUntil: 0, primary: true, ...hello });
  }
  json(kind: string, value: unknown): this {
    this.onmessage?.({ data: kind + JSON.stringify(value) });
    return this;
  }
  offset(kind: string, offset: number, body = ''): this {
    const frame = new Uint8Array(9 + body.length);
    frame[0] = kind.charCodeAt(0);
    new DataView(frame.buffer).setUint32(5, offset);
    frame.set(text(body), 9);
    this.onmessage?.({ data: frame.buffer });
    return this;
  }
  lose(code = 1006, reason = ''): void {
    this.onclose?.({ code, reason });
  }
  /** Input frames as "seq:bytes". */
  get input(): string[] {
    return this.sent
      .filter((frame) => frame[0] === 0x30)
      .map((frame) => `${new DataView(frame.buffer, frame.byteOffset).getUint32(5)}:${read(frame.subarray(9))}`);
  }
}

let wires: Wire[] = [];
let states: StateChange[] = [];
let log: string[] = [];
const last = () => wires[wires.length - 1]!;
const state = () => states[states.length - 1]!;

function connect(): Connection {
  const events: Events = {
    state: (change) => states.push(change),
    hello: (hello, resumed, discarded) => log.push(`hello ${hello.session} ${resumed ? 'resumed' : 'fresh'} ${discarded}`),
    output: (offset, bytes) => log.push(`${offset}:${read(bytes)}`),
    repaint: (offset, bytes) => log.push(`repaint ${offset}:${read(bytes)}`),
    size: (columns, rows) => log.push(`size ${columns}×${rows}`),
    primary: (primary) => log.push(`primary ${primary}`),
    title: (title) => log.push(`title ${title}`),
    ended: (code) => log.push(`ended ${code}`),
    refused: (bytes) => log.push(`refused ${bytes}`),
  };
  const connection = new Connection(
    {
      url: 'ws://host/terminal', session: 'main', columns: 80, rows: 24, random: () => 0.5,
      open: (url, protocols) => {
        assert.deepEqual(protocols, SUBPROTOCOLS);
        wires.push(new Wire(new URL(url)));
        return last();
      },
    },
    events,
  );
  connection.start();
  return connection;
}

beforeEach(() => {
  wires = [];
  states = [];
  log = [];
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_000_000 });
});
afterEach(() => mock.timers.reset());

test('it resumes from the byte it had, under the id of the session', () => {
  connect();
  last().open().hello().offset('0', 0, 'hello');
  mock.timers.tick(2000);
  last().lose();
  assert.equal(state().state, 'reconnecting');
  assert.equal(state().retryInMs, 250);
  mock.timers.tick(250);
  assert.equal(wires.length, 2);
  assert.deepEqual(Object.fromEntries(last().url.searchParams), { session: 'main', offset: '5', id: 'A' });
  last().open().hello({ start: 5, replayUntil: 8 }).offset('0', 3, 'loXYZ');
  assert.deepEqual(log, ['hello A fresh 0', '0:hello', 'hello A resumed 0', '5:XYZ']);
  assert.equal(state().state, 'live');
});

test('the same client id speaks on every connection', () => {
  connect();
  last().open().hello();
  last().lose();
  mock.timers.tick(500);
  last().open();
  const [one, two] = wires.map((wire) => (JSON.parse(read(wire.sent[0]!)) as { client: string }).client);
  assert.equal(one, two);
  assert.match(one!, /^[0-9a-f]{32}$/);
});

test('what is typed before the first hello, and while away, is sent once and in order', () => {
  const connection = connect();
  connection.type(text('a'));
  last().open().hello();
  assert.deepEqual(last().input, ['0:a']);
  connection.type(text('b'));
  last().offset('4', 1);
  last().lose();
  connection.type(text('c'));
  assert.equal(state().heldBytes, 2);
  mock.timers.tick(500);
  last().open().hello({ inputAck: 2 });
  assert.deepEqual(last().input, ['2:c']);
  assert.equal(state().heldBytes, undefined);
});

test('for another session of the name nothing held is sent, and it is said', () => {
  const connection = connect();
  last().open().hello().offset('0', 0, 'old');
  last().lose();
  connection.type(text('rm x\r'));
  mock.timers.tick(500);
  last().open().hello({ session: 'B', newSession: true });
  assert.deepEqual(last().input, []);
  assert.deepEqual(log, ['hello A fresh 0', '0:old', 'hello B fresh 5']);
  assert.deepEqual(states.slice(-2).map((change) => change.state), ['replaced', 'live']);
  last().offset('0', 0, 'new');
  assert.equal(log[3], '0:new');
  connection.type(text('x'));
  assert.deepEqual(last().input, ['0:x']);
});

test('an answer of the terminal is given now or never', () => {
  const connection = connect();
  last().open().hello();
  connection.reply(text('\x1b[0n'));
  assert.deepEqual(last().input, ['0:\x1b[0n']);
  last().offset('4', 4);
  last().lose();
  connection.reply(text('\x1b[0n'));
  mock.timers.tick(500);
  last().open().hello({ inputAck: 4 });
  assert.deepEqual(last().input, []);
});

test('waits grow from a quarter of a second to five, with jitter', () => {
  assert.deepEqual([1, 2, 3, 4, 5, 6, 60].map((attempt) => backoffMs(attempt, 0.5)), [250, 500, 1000, 2000, 4000, 5000, 5000]);
  assert.ok(backoffMs(9, 0) >= 3750 && backoffMs(9, 0.999) <= 6250);
});

test('it tries for ever, and at once when poked', () => {
  const connection = connect();
  for (let attempt = 1; attempt <= 50; attempt += 1) {
    assert.equal(wires.length, attempt);
    last().lose();
    mock.timers.tick(6000);
  }
  last().lose();
  assert.ok(state().retryInMs! > 1000);
  connection.poke();
  assert.equal(wires.length, 52);
  last().open().hello();
  assert.equal(state().state, 'live');
});

test('a session that is dropped for later is resumed at once, but not in a circle', () => {
  connect();
  last().open().hello();
  mock.timers.tick(1000);
  last().lose(4409);
  assert.equal(wires.length, 2);
  last().open().hello();
  last().lose(4409);
  assert.equal(wires.length, 2);
  mock.timers.tick(1000);
  assert.equal(wires.length, 3);
});

test('signed out, read only and no such project stop the tries until poked', () => {
  for (const code of [4401, 4403, 4404]) {
    const connection = connect();
    const before = wires.length;
    last().open();
    last().lose(code);
    assert.equal(state().state, 'unavailable');
    assert.equal(state().code, code);
    assert.ok(state().message!.length > 10);
    mock.timers.tick(600_000);
    assert.equal(wires.length, before);
    connection.poke();
    assert.equal(wires.length, before + 1);
    connection.dispose();
  }
});

test('a sandbox that does not run is asked for slowly, and at once when poked', () => {
  const connection = connect();
  last().open();
  last().lose(4503, 'The sandbox is stopped.');
  assert.deepEqual([state().state, state().message, state().code], ['unavailable', 'The sandbox is stopped.', 4503]);
  mock.timers.tick(5000);
  assert.equal(wires.length, 1);
  mock.timers.tick(5000);
  assert.equal(wires.length, 2);
  last().open();
  last().lose(4503);
  connection.poke();
  assert.equal(wires.length, 3);
});

test('a shell that ended is started anew when asked, and only then', () => {
  const connection = connect();
  last().open().hello().offset('0', 0, 'exit\r\n').json('7', { code: 3 });
  last().lose(1000);
  assert.equal(state().state, 'ended');
  assert.equal(state().message, 'The shell ended (3). Press Enter to start a new one.');
  mock.timers.tick(600_000);
  connection.poke();
  assert.equal(wires.length, 1);
  connection.restart();
  assert.deepEqual(Object.fromEntries(last().url.searchParams), { session: 'main', offset: '0', restart: '1' });
  last().lose();
  mock.timers.tick(1000);
  assert.equal(last().url.searchParams.get('restart'), '1');
  last().open().hello({ session: 'B' }).offset('0', 0, '$ ');
  assert.deepEqual(log.slice(-2), ['hello B fresh 0', '0:$ ']);
  last().lose();
  mock.timers.tick(1000);
  assert.equal(last().url.searchParams.get('restart'), null);
});

test('a shell that somebody ended elsewhere is over, and comes back only when asked for', () => {
  const connection = connect();
  last().open().hello().offset('0', 0, '$ ');
  last().lose(4404, 'the session was deleted');
  assert.equal(state().state, 'ended');
  assert.equal(state().message, 'The shell ended. Press Enter to start a new one.');
  assert.deepEqual(log, ['hello A fresh 0', '0:$ ', 'ended null']);
  mock.timers.tick(600_000);
  connection.poke();
  connection.probe(true);
  assert.equal(wires.length, 1);
  connection.restart();
  assert.deepEqual(Object.fromEntries(last().url.searchParams), { session: 'main', offset: '0', restart: '1' });
});

test('a project that is gone is said, also where a terminal was live before, or is one of ttyd', () => {
  connect();
  last().open().hello();
  last().lose();
  mock.timers.tick(500);
  last().open();
  last().lose(4404, 'There is no such project.');
  assert.deepEqual([state().state, state().code, state().message], ['unavailable', 4404, 'There is no such project.']);
  connect();
  last().open('tty');
  last().lose(4404);
  assert.equal(state().state, 'unavailable');
});

test('a session that had ended before is shown, then said to have ended', () => {
  connect();
  last().open().hello({ exited: 0, replayUntil: 3 }).offset('0', 0, 'by').offset('0', 2, 'e').json('7', { code: 0 });
  assert.deepEqual(log, ['hello A fresh 0', '0:by', '2:e', 'ended 0']);
});

test('after a repaint output goes on from its offset', () => {
  connect();
  last().open().hello().offset('5', 500, 'screen').offset('0', 500, 'x').offset('0', 400, 'old');
  assert.deepEqual(log.slice(1), ['repaint 500:screen', '500:x']);
  last().lose();
  mock.timers.tick(500);
  assert.equal(last().url.searchParams.get('offset'), '501');
});

test('a connection that never says hello is given up', () => {
  connect();
  last().open();
  mock.timers.tick(10_000);
  assert.equal(wires[0]!.closed, 4000);
  mock.timers.tick(250);
  assert.equal(wires.length, 2);
});

test('a connection that takes no input any more is replaced, less often each time', () => {
  const connection = connect();
  last().open().hello();
  connection.type(text('x'));
  mock.timers.tick(5000);
  assert.equal(wires.length, 2);
  last().open().hello();
  assert.deepEqual(last().input, ['0:x']);
  mock.timers.tick(9000);
  assert.equal(wires.length, 2);
  mock.timers.tick(1000);
  assert.equal(wires.length, 3);
  last().open().hello({ inputAck: 1 });
  mock.timers.tick(600_000);
  assert.equal(wires.length, 3);
});

test('a probe finds a connection that died in its sleep', () => {
  const connection = connect();
  last().open().hello();
  connection.probe();
  assert.deepEqual(last().input, []);
  mock.timers.tick(60_000);
  connection.probe();
  assert.deepEqual(last().input, ['0:']);
  last().offset('4', 0);
  mock.timers.tick(60_000);
  assert.equal(wires.length, 1);
  connection.probe();
  mock.timers.tick(3000);
  assert.equal(wires.length, 2);
});

test('a network that changed is found out about at once, however recently something was heard', () => {
  const connection = connect();
  last().open().hello();
  connection.probe(true);
  assert.deepEqual(last().input, ['0:']);
  mock.timers.tick(3000);
  assert.equal(wires.length, 2);
});

test('a socket that is still being opened is closed once it is open, so that the console stays quiet', () => {
  const connection = connect();
  const wire = last();
  wire.readyState = 0;
  connection.dispose();
  assert.equal(wire.closed, undefined);
  wire.open();
  assert.equal(wire.closed, 1000);
  assert.deepEqual(wire.sent, []);
});

test('frames of a connection that was let go are not heard', () => {
  const connection = connect();
  const old = last().open().hello();
  connection.dispose();
  old.offset('0', 0, 'late').lose();
  assert.equal(old.closed, 1000);
  assert.deepEqual(log, ['hello A fresh 0']);
  mock.timers.tick(600_000);
  assert.equal(wires.length, 1);
});

test('a frame that breaks its form ends the connection, not the terminal', () => {
  const warn = mock.method(console, 'warn', () => undefined);
  connect();
  last().open().hello();
  last().json('3', {});
  warn.mock.restore();
  assert.equal(state().state, 'reconnecting');
});

test('stock ttyd: no numbers, nothing held, a new shell each time', () => {
  const connection = connect();
  last().open('tty');
  assert.equal(state().state, 'live');
  connection.type(text('ls'));
  assert.equal(read(last().sent[1]!), '0ls');
  last().onmessage?.({ data: text('0file').buffer as ArrayBuffer });
  last().lose();
  connection.type(text('rm'));
  mock.timers.tick(1000);
  last().open('tty').onmessage?.({ data: text('0$ ').buffer as ArrayBuffer });
  assert.deepEqual(log, ['hello tty fresh 0', '0:file', 'refused 2', 'hello tty fresh 0', '0:$ ']);
});

test('stock ttyd: what is typed into a socket that is closing is said not to be sent', () => {
  const connection = connect();
  const wire = last().open('tty');
  wire.readyState = 2;
  connection.type(text('rm'));
  connection.reply(text('\x1b[0n'));
  assert.deepEqual(log, ['hello tty fresh 0', 'refused 2'], 'an answer of the terminal is nobody’s loss');
  assert.equal(wire.sent.length, 1);
});
