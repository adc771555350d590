import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode, encodeConsumed, encodeFirst, encodeInput, encodeResize } from './protocol.ts';

const bytes = (...values: number[]) => new Uint8Array(values);
const text = (value: string) => new TextEncoder().encode(value);
const frame = (head: string, offset: number[], body = '') => bytes(...text(head), ...offset, ...text(body)).buffer as ArrayBuffer;

test('an offset is eight bytes, big-endian, and may pass 2^32', () => {
  assert.deepEqual(encodeConsumed(258), bytes(0x34, 0, 0, 0, 0, 0, 0, 1, 2));
  assert.deepEqual(encodeInput('fsa-tty.v1', 2 ** 40 + 2 ** 31, text('a')), bytes(0x30, 0, 0, 1, 0, 0x80, 0, 0, 0, 97));
  const output = decode('fsa-tty.v1', frame('0', [0, 0, 1, 0, 0x80, 0, 0, 0], 'hi'));
  assert.deepEqual(output, { kind: 'output', offset: 2 ** 40 + 2 ** 31, bytes: text('hi') });
});

test('output is a view into the message, not a copy', () => {
  const message = frame('0', [0, 0, 0, 0, 0, 0, 0, 0], 'hi');
  const output = decode('fsa-tty.v1', message);
  assert.ok(output?.kind === 'output' && output.bytes.buffer === message);
});

test('the first frame names the client, or for ttyd its token', () => {
  const parse = (frame: Uint8Array) => JSON.parse(new TextDecoder().decode(frame)) as unknown;
  assert.deepEqual(parse(encodeFirst('fsa-tty.v1', 80, 24, 'me')), { columns: 80, rows: 24, client: 'me' });
  assert.deepEqual(parse(encodeFirst('tty', 80, 24, 'me')), { AuthToken: '', columns: 80, rows: 24 });
});

test('ttyd has no offsets', () => {
  assert.deepEqual(encodeInput('tty', 7, text('a')), text('0a'));
  assert.deepEqual(decode('tty', text('0hi').buffer as ArrayBuffer), { kind: 'output', offset: -1, bytes: text('hi') });
  assert.deepEqual(encodeResize(80, 24), text('1{"columns":80,"rows":24}'));
});

test('a hello with fields missing is read as the least it can mean', () => {
  const told = decode('fsa-tty.v1', '3{"session":"s","start":5,"replayUntil":2,"exited":0}');
  assert.ok(told?.kind === 'hello');
  assert.deepEqual(told.hello, {
    session: 's', name: '', start: 5, skipped: 0, inputAck: 0, columns: 80, rows: 24,
    replayUntil: 5, primary: true, exited: 0, newSession: false,
  });
});

test('a status says what changed and nothing else', () => {
  assert.deepEqual(decode('fsa-tty.v1', '6{"primary":false}'), { kind: 'status', size: undefined, primary: false });
  assert.deepEqual(decode('fsa-tty.v1', '6{"columns":90,"rows":30}'), {
    kind: 'status', size: { columns: 90, rows: 30 }, primary: undefined,
  });
});

test('a frame that breaks its form throws; one that is not known yet is passed over', () => {
  assert.throws(() => decode('fsa-tty.v1', new ArrayBuffer(0)));
  assert.throws(() => decode('fsa-tty.v1', frame('0', [0, 0])));
  assert.throws(() => decode('fsa-tty.v1', frame('0', [0xff, 0, 0, 0, 0, 0, 0, 0])));
  assert.throws(() => decode('fsa-tty.v1', '3{"name":"x"}'));
  assert.throws(() => decode('fsa-tty.v1', '3nonsense'));
  assert.equal(decode('fsa-tty.v1', '9later'), undefined);
});
