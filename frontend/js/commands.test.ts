import assert from 'node:assert/strict';
import { test } from 'node:test';
import { commands, CONTROLS, found, SHORTCUTS, toggle, type Place, type Project } from './commands.ts';
import { keyOwner } from './keys.ts';

const project = (id: string, name: string, phase: string): Project => ({ id, name, sandbox: { phase } });
const here = (phase: string, more: Partial<Place> = {}): Place => ({ project: project('1', 'tidewater', phase), terminals: false, split: false, operator: false, ...more });
const labels = (place: Place, projects: Project[] = []) => commands(place, projects).map(({ label }) => label);

test('only what can be done now is offered', () => {
  assert.ok(labels(here('Running')).includes('Stop sandbox') && labels(here('Running')).includes('Restart sandbox'));
  assert.ok(!labels(here('Running')).includes('Start sandbox'));
  assert.ok(labels(here('Stopped')).includes('Start sandbox') && !labels(here('Stopped')).includes('Restart sandbox'));
  assert.ok(labels(here('Starting')).includes('Cancel start'));
  assert.equal(toggle('Stopping'), undefined);
  assert.ok(labels(here('Running', { terminals: true })).includes('Split the terminal'));
  assert.ok(labels(here('Running', { terminals: true, split: true })).includes('Close the second terminal'));
  assert.ok(!labels(here('Running')).includes('Doctor') && labels(here('Running', { operator: true })).includes('Doctor'));
});

test('what a page has a control for is offered while it can be pressed', () => {
  const controls = new Map(CONTROLS.map(({ find }) => [find, 'Remove sandbox…']));
  const offered = labels(here('Running', { controls }));
  for (const label of ['Close this terminal', 'Reload preview', 'Open preview in a new tab', 'Share preview', 'Terminate sandbox…', 'Remove sandbox…']) {
    assert.ok(offered.includes(label), label);
    assert.ok(!labels(here('Running')).includes(label), label);
  }
  const [close] = CONTROLS;
  assert.deepEqual(found(commands(here('Running', { controls: new Map([[close!.find, '']]) }), []), 'close this').map(({ run }) => run), [{ press: close!.find }]);
  assert.ok(labels(here('Running', { terminals: true })).includes('Search the output') && !labels(here('Running')).includes('Search the output'));
});

test('the keys that a terminal leaves to the clipboard are listed', () => {
  for (const [key, owner] of [['C', 'copy'], ['V', 'paste']] as const) {
    assert.equal(keyOwner({ key, code: `Key${key}`, ctrlKey: true, shiftKey: true, altKey: false, metaKey: false }, false), owner);
    assert.ok(SHORTCUTS.some(([, keys]) => keys.join(' ') === `Ctrl Shift ${key}`), key);
  }
});

test('without a project there is no sandbox to ask, and every project to go to', () => {
  const place: Place = { terminals: false, split: false, operator: false };
  const all = labels(place, [project('1', 'tidewater', 'Running'), project('2', 'route-planner', 'Error')]);
  assert.ok(all.includes('tidewater') && all.includes('route-planner') && !all.includes('Terminal'));
  assert.deepEqual(found(commands(place, []), 'account').map(({ label }) => label), ['Account settings', 'All activity']);
  assert.ok(!labels(here('Running'), [project('1', 'tidewater', 'Running')]).includes('tidewater'));
});

test('an extra sandbox stands after its project, and is one to go to and to ask', () => {
  const place: Place = { terminals: false, split: false, operator: false };
  const extra = { ...project('3', 'tidewater / feature/x', 'Stopped'), extraOf: '1' };
  const projects = [extra, project('2', 'route-planner', 'Error'), project('1', 'tidewater', 'Running')];
  const listed = commands(place, projects).filter(({ group }) => group === 'Projects');
  assert.deepEqual(listed.map(({ label }) => label), ['route-planner', 'tidewater', 'tidewater / feature/x']);
  assert.deepEqual(found(listed, 'tide feature').map(({ run }) => run), [{ go: '/projects/3' }]);
  const there = labels({ ...place, project: extra }, projects);
  assert.ok(there.includes('Start sandbox') && there.includes('tidewater') && !there.includes('tidewater / feature/x'));
});

test('every word of a query must be somewhere, and what begins with it is first', () => {
  const all = commands(here('Running'), [project('2', 'my reload', 'Running'), project('3', 'restart-me', 'Running')]);
  const names = (query: string) => found(all, query).map(({ label }) => label);
  assert.deepEqual(names('re').slice(0, 2), ['Restart sandbox', 'restart-me']);
  assert.deepEqual(names('dark'), ['Switch theme']);
  assert.deepEqual(names('me restart'), ['restart-me']);
  assert.deepEqual(names('nothing at all like it'), []);
  assert.equal(found(all, '  ').length, all.length);
});

test('thousands of projects are found and not all shown', () => {
  const many = Array.from({ length: 2_000 }, (_, at) => project(`p${at}`, `boats ${at}`, 'Stopped'));
  const all = commands(here('Running'), many);
  assert.equal(found(all, '').filter(({ group }) => group === 'Projects').length, 20);
  assert.ok(found(all, '').some(({ label }) => label === 'Sign out'));
  assert.equal(found(all, 'boats').length, 100);
  assert.deepEqual(found(all, 'boats 1999').map(({ label }) => label), ['boats 1999']);
});

test('groups are kept together', () => {
  const all = commands(here('Running', { terminals: true }), [project('2', 'terminal-thing', 'Running')]);
  const groups = found(all, 'term').map(({ group }) => group);
  assert.deepEqual(groups, [...groups].sort((a, b) => groups.indexOf(a) - groups.indexOf(b)));
});
