import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Line, oneAtATime } from './turns.ts';

/** A task whose end is the test's. */
function held(): { run: () => Promise<boolean>; begun: () => number; end: (well: boolean) => Promise<void> } {
  const ends: ((well: boolean) => void)[] = [];
  let begun = 0;
  return {
    run: () => {
      begun += 1;
      return new Promise((resolve) => ends.push(resolve));
    },
    begun: () => begun,
    end: async (well) => {
      ends.shift()?.(well);
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

test('what is asked for while it runs is done once after it', async () => {
  const task = held();
  const ask = oneAtATime(task.run);
  const first = ask();
  for (let more = 0; more < 3; more += 1) void ask();
  assert.equal(task.begun(), 1);
  await task.end(true);
  assert.equal(task.begun(), 2);
  await task.end(true);
  await first;
  assert.equal(task.begun(), 2);
  void ask();
  assert.equal(task.begun(), 3);
});

test('after one that went wrong nothing follows by itself, and the next that is asked for runs', async () => {
  const task = held();
  const ask = oneAtATime(task.run);
  void ask();
  void ask();
  await task.end(false);
  assert.equal(task.begun(), 1);
  void ask();
  await task.end(true);
  assert.equal(task.begun(), 2);
  await assert.rejects(oneAtATime(() => Promise.reject(new Error('broken')))(), /broken/);
});

test('a task that fails is told, and stops none behind it', async () => {
  const line = new Line();
  const told: string[] = [];
  const failed = (error: unknown): void => void told.push(`failed: ${error instanceof Error ? error.message : error}`);
  void line.add(() => Promise.reject(new Error('broken')), failed);
  void line.add(() => {
    throw new Error('thrown');
  }, failed);
  await line.add(async () => void told.push('done'), failed);
  assert.deepEqual(told, ['failed: broken', 'failed: thrown', 'done']);
});
