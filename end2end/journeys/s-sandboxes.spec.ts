// Several sandboxes of one project: added for a branch, used side by side, removed without a trace.
import type { Locator, Page } from '@playwright/test';
import { kubectl, onCluster } from '../support/cluster.ts';
import { expect, test } from '../support/fixtures.ts';
import { inspect } from '../support/inspect.ts';
import { Workspace, hydrated } from '../support/pages.ts';
import { until } from '../support/until.ts';
import { databasesOf, runsOf, volumesOf } from '../support/world.ts';

const panel = (page: Page): Locator => page.getByRole('dialog', { name: 'Sandboxes' });
const row = (page: Page, name: string): Locator => panel(page).getByRole('listitem').filter({ has: page.getByRole('link', { name, exact: true }) });

async function openSandboxes(page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Sandboxes' }).click();
  await expect(row(page, 'Main sandbox')).toBeVisible();
}

test('a sandbox for a branch: added, used beside the main one, removed with all that it had', async ({ api, server, project, signedIn: page, allowConsole }) => {
  allowConsole(/status of 4(09|22)/);
  const before = { runs: runsOf(server).length, volumes: volumesOf(server), databases: databasesOf(server) };
  // As over plain HTTP from another machine.
  await page.addInitScript(() => Object.defineProperty(crypto, 'randomUUID', { value: undefined }));
  const workspace = await new Workspace(page).open(project.id);
  await openSandboxes(page);
  await expect(row(page, 'Main sandbox').getByText('Running')).toBeVisible();
  await expect(row(page, 'Main sandbox').getByRole('button', { name: 'Remove Main sandbox' })).toHaveCount(0);

  await page.getByRole('button', { name: 'New sandbox…' }).click();
  await expect(panel(page).getByText('starts with an empty home folder')).toBeVisible();
  await page.getByLabel('Branch').fill('no branch');
  await page.keyboard.press('Enter');
  await expect(panel(page).getByRole('alert')).toContainText('no name of a branch');
  await expect(page.getByLabel('Branch')).toBeFocused();
  await inspect(page, 'sandbox-new', [1440]);
  await expect(page.getByLabel('Branch')).toBeVisible();
  await page.getByLabel('Branch').fill('feature/x');
  await page.keyboard.press('Enter');

  // The page of the new one, in place; a reload keeps it.
  await expect(page).toHaveURL(/\/projects\/[0-9a-f-]{36}$/);
  await expect(page).not.toHaveURL(new RegExp(project.id));
  const extra = page.url().split('/').pop()!;
  await expect(page.getByRole('heading', { level: 1 })).toHaveText(`${project.name} / feature/x`);
  await expect(workspace.phase).toHaveText('Running', { timeout: 30_000 });
  await workspace.terminal().live();
  await page.reload();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText(`${project.name} / feature/x`);
  expect((await api.projects()).map(({ id }) => id)).toContain(project.id);
  expect((await api.projects()).map(({ id }) => id)).not.toContain(extra);

  // Both run, each with files and a database of its own.
  for (const [id, text] of [[project.id, 'main'], [extra, 'extra']] as const) {
    await api.output(id, `echo ${text} > which && psql -qc "CREATE TABLE own AS SELECT '${text}' AS which"`);
  }
  for (const [id, text] of [[project.id, 'main'], [extra, 'extra']] as const) {
    expect((await api.output(id, 'cat which; psql -Atc "SELECT which FROM own"')).split('\n')).toEqual([text, text, '']);
  }
  expect(volumesOf(server)).toHaveLength(before.volumes.length + 1);
  expect(databasesOf(server).databases).toHaveLength(before.databases.databases.length + 1);
  if (onCluster) {
    const { name } = await api.sandbox(extra);
    const objects = kubectl('get', 'deployments,persistentvolumeclaims,statefulsets', '-l', `fullstackagent.io/project=${extra}`, '-o', 'name');
    const one = [`deployment.apps/${name}`, `persistentvolumeclaim/data-${name}-postgresql-0`, `persistentvolumeclaim/volume-${extra}`, `statefulset.apps/${name}-postgresql`];
    expect(objects.trim().split('\n').sort(), 'one of each of its own').toEqual(one);
  }

  // Stopped and started from the list, and the other one does not notice.
  await workspace.open(project.id);
  await openSandboxes(page);
  await row(page, 'feature/x').getByRole('button', { name: 'Stop feature/x' }).click();
  await expect(row(page, 'feature/x').getByText('Stopped')).toBeVisible();
  await expect(row(page, 'Main sandbox').getByText('Running')).toBeVisible();
  await row(page, 'feature/x').getByRole('button', { name: 'Start feature/x' }).click();
  await expect(row(page, 'feature/x').getByText('Running')).toBeVisible();
  expect(await api.output(extra, 'cat which')).toBe('extra\n');

  // By the keyboard to the other one's files.
  await row(page, 'feature/x').getByRole('link').press('Enter');
  await expect(page).toHaveURL(new RegExp(`/projects/${extra}$`));
  await page.getByRole('link', { name: 'Files' }).click();
  await expect(page.getByRole('tree', { name: 'Files' }).getByText('which', { exact: true })).toBeVisible();

  // Stopped from the list while its files are there: what they say is of this one, and not of the first in the list.
  await openSandboxes(page);
  await row(page, 'feature/x').getByRole('button', { name: 'Stop feature/x' }).click();
  await expect(row(page, 'feature/x').getByText('Stopped')).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(panel(page)).toBeHidden();
  await page.getByRole('button', { name: 'Read again' }).click();
  const file = page.getByRole('region', { name: 'File', exact: true });
  await expect(file.getByRole('heading', { name: 'The sandbox is stopped' })).toBeVisible();
  await file.getByRole('button', { name: 'Start' }).click();
  await expect(page.getByRole('tree', { name: 'Files' }).getByText('which', { exact: true })).toBeVisible({ timeout: 60_000 });

  await openSandboxes(page);
  await row(page, 'feature/x').getByRole('button', { name: 'Remove feature/x' }).click();
  const question = page.getByRole('alertdialog');
  await expect(question).toContainText('Its files and its database go with it');
  await expect(question.getByRole('button', { name: 'Keep the sandbox' })).toBeFocused();
  await question.getByRole('button', { name: 'Remove the sandbox' }).click();
  await expect(page).toHaveURL(new RegExp(`/projects/${project.id}$`));
  await until('the sandbox to be gone', async () => (await api.ask('GET', `/api/projects/${extra}`)).status === 404);
  await until('nothing of it to run', () => runsOf(server).length === before.runs);
  await expect.poll(() => volumesOf(server)).toEqual(before.volumes);
  await expect.poll(() => databasesOf(server)).toEqual(before.databases);
  expect(await api.output(project.id, 'cat which; psql -Atc "SELECT which FROM own"')).toBe('main\nmain\n');
  await expect(workspace.phase).toHaveText('Running');
});

test('the settings of an extra sandbox say what is true of it, and remove it', async ({ api, project, signedIn: page }) => {
  const made = await api.must<{ id: string }>('POST', `/api/projects/${project.id}/sandboxes`, { body: { branch: 'feature/x' } });
  await api.reaches(made.id, 'Running');
  await page.goto(`/projects/${made.id}/settings`);
  await hydrated(page);
  const main = page.getByRole('main');
  await expect(main.getByRole('heading', { name: 'The sandbox of feature/x' })).toBeVisible();
  await expect(main).toContainText('called after its project and its branch');
  await expect(page.getByRole('textbox', { name: 'Project name' })).toHaveCount(0);
  const danger = main.getByRole('region', { name: 'Danger zone' });
  await expect(danger).toContainText('Its files and its database go with it.');
  await expect(danger).not.toContainText(/Delete|type the name/);
  await inspect(page, 'extra-settings');

  const remove = danger.getByRole('button', { name: 'Remove the sandbox…' });
  await remove.click();
  const question = page.getByRole('alertdialog', { name: 'Remove the sandbox feature/x?' });
  await expect(question.getByRole('button', { name: 'Keep the sandbox' })).toBeFocused();
  await page.keyboard.press('Enter');
  await expect(question).toHaveCount(0);
  await expect(remove).toBeFocused();
  await remove.click();
  await question.getByRole('button', { name: 'Remove the sandbox' }).click();
  await expect(page).toHaveURL(new RegExp(`/projects/${project.id}$`));
  await until('the sandbox to be gone', async () => (await api.ask('GET', `/api/projects/${made.id}`)).status === 404);
  expect((await api.sandbox(project.id)).phase).toBe('Running');

  // The project's own has both.
  await page.goto(`/projects/${project.id}/settings`);
  await hydrated(page);
  await expect(page.getByRole('textbox', { name: 'Project name' })).toHaveValue(project.name);
  await expect(danger.getByRole('button', { name: 'Delete project…' })).toBeVisible();
});

test('the list of sandboxes fits a phone, and closes by Escape', async ({ api, project, signedIn: page }) => {
  const made = await api.must('POST', `/api/projects/${project.id}/sandboxes`, { body: { branch: `feature/${'long-'.repeat(20)}name` } });
  await page.setViewportSize({ width: 390, height: 844 });
  await new Workspace(page).open(project.id);
  await openSandboxes(page);
  const box = (await panel(page).boundingBox())!;
  expect(box.x).toBeGreaterThanOrEqual(0);
  expect(box.x + box.width).toBeLessThanOrEqual(390);
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
  await page.keyboard.press('Escape');
  await expect(panel(page)).toBeHidden();
  await expect(page.getByRole('button', { name: 'Sandboxes' })).toBeFocused();
  // With its project it goes.
  await api.remove(project.id);
  await until('the extra sandbox to be gone', async () => (await api.ask('GET', `/api/projects/${made.id}`)).status === 404);
});

test('that the sandboxes could not be read is said for no longer than it is so', async ({ project, signedIn: page, allowConsole }) => {
  allowConsole(/ERR_FAILED/);
  await new Workspace(page).open(project.id);
  await openSandboxes(page);
  const list = /\/api\/projects\/[^/]+\/sandboxes$/;
  await page.route(list, (route) => route.abort());
  await expect(panel(page).getByRole('status')).toContainText('The server did not answer.');
  await page.unroute(list);
  await expect(panel(page).getByText('The server did not answer.')).toHaveCount(0);
});
