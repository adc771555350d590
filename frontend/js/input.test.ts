import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InputQueue } from './input.ts';

const text = (value: string) => new TextEncoder().encode(value);
const read = (frame: { bytes: Uint8Array } | undefined) => (frame ? new TextDecoder().decode(frame.bytes) : undefined);

function drain(queue: InputQueue): { seq: number; text: string }[] {
  const frames = [];
  for (let frame; (frame = queue.next()); ) frames.push({ seq: frame.seq, text: read(frame)! });
  return frames;
}

test('what is held is sent once, in order, joined', () => {
  const queue = new InputQueue();
  queue.push(text('ls '));
  queue.push(text('-l\r'));
  assert.deepEqual(drain(queue), [{ seq: 0, text: 'ls -l\r' }]);
  assert.deepEqual(drain(queue), []);
  assert.ok(queue.ack(6));
  assert.equal(queue.pending, 0);
});

test('a new connection sends again only what did not arrive', () => {
  const queue = new InputQueue();
  queue.push(text('abcdef'));
  drain(queue);
  queue.push(text('gh'));
  queue.resume(4);
  assert.deepEqual(drain(queue), [{ seq: 4, text: 'efgh' }]);
});

test('an acknowledgement that repeats or runs ahead loses nothing', () => {
  const queue = new InputQueue();
  queue.push(text('abc'));
  drain(queue);
  assert.ok(queue.ack(2));
  assert.ok(!queue.ack(1));
  assert.ok(queue.ack(99));
  queue.push(text('d'));
  assert.deepEqual(drain(queue), [{ seq: 3, text: 'd' }]);
});

test('for another session nothing that was held is sent', () => {
  const queue = new InputQueue();
  queue.push(text('rm -r .\r'));
  assert.equal(queue.discard(0), 8);
  queue.push(text('ok'));
  assert.deepEqual(drain(queue), [{ seq: 0, text: 'ok' }]);
});

test('a session that forgot this client gets what is held from where it stands', () => {
  const queue = new InputQueue();
  queue.push(text('abc'));
  drain(queue);
  queue.ack(3);
  queue.push(text('de'));
  queue.resume(0);
  assert.deepEqual(drain(queue), [{ seq: 0, text: 'de' }]);
});

test('a paste goes out in frames, a window at a time', () => {
  const queue = new InputQueue();
  const paste = new Uint8Array(1024 * 1024).map((_, at) => at % 251);
  assert.ok(queue.push(paste));
  const arrived: number[] = [];
  while (queue.pending > 0) {
    let sent = 0;
    for (let frame; (frame = queue.next()); ) {
      assert.equal(frame.seq, arrived.length);
      arrived.push(...frame.bytes);
      sent += frame.bytes.length;
    }
    assert.ok(sent > 0 && sent <= 256 * 1024);
    queue.ack(arrived.length);
  }
  assert.deepEqual(Uint8Array.from(arrived), paste);
});

test('more than can be held is refused whole', () => {
  const queue = new InputQueue();
  assert.ok(!queue.push(new Uint8Array(5 * 1024 * 1024)));
  assert.equal(queue.pending, 0);
});

test('however connections are cut, each byte arrives once and in order', () => {
  let seed = 1;
  const random = (below: number) => (seed = (seed * 48271) % 2147483647) % below;
  for (let round = 0; round < 300; round += 1) {
    const queue = new InputQueue();
    let typed = '';
    let arrived = '';
    for (let step = 0; step < 60; step += 1) {
      const word = String.fromCharCode(97 + random(26)).repeat(1 + random(4));
      queue.push(text(word));
      typed += word;
      const frames = drain(queue);
      // The connection breaks after some of these; the session drops what it has already.
      const lost = random(3) === 0;
      for (const frame of lost ? frames.slice(0, random(frames.length + 1)) : frames) {
        assert.ok(frame.seq <= arrived.length);
        arrived += frame.text.slice(arrived.length - frame.seq);
        if (random(2) === 0 && !lost) queue.ack(arrived.length);
      }
      if (lost) queue.resume(arrived.length);
    }
    queue.resume(arrived.length);
    for (const frame of drain(queue)) arrived += frame.text;
    assert.equal(arrived, typed);
  }
});
