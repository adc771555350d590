// What happened, as its owner reads it; and the page of the API.
import { expect, test } from '../support/fixtures.ts';
import { inspect } from '../support/inspect.ts';
import { hydrated } from '../support/pages.ts';
import { controlPlane } from '../support/world.ts';

test('what happened is told as it happens, filtered and exported', async ({ api, project, server, visitor }) => {
  const page = await (await visitor()).newPage();
  await page.goto(`/projects/${project.id}/activity`);
  await hydrated(page);
  const events = page.locator('.event');
  await expect(events.filter({ hasText: 'Made the project' })).toBeVisible();
  await expect(events.filter({ hasText: 'became Running' })).toContainText(/stages in \d/);
  // By another client, while the page is open.
  await api.act(project.id, 'stop');
  await expect(events.filter({ hasText: 'Stopped the sandbox' })).toBeVisible();
  await expect(events.first()).toContainText('Stopping became Stopped');
  await api.must('PUT', `/api/projects/${project.id}/env`, { body: { set: { SESSION_SECRET: 'hunter2' } } });
  await expect(events.first()).toContainText('Added SESSION_SECRET');
  await expect(page.locator('body')).not.toContainText('hunter2');

  await page.getByRole('button', { name: 'Phases' }).click();
  await expect(events.filter({ hasText: 'Made the project' })).toHaveCount(0);
  await page.getByRole('button', { name: 'All', exact: true }).click();
  await page.getByRole('searchbox', { name: 'Search activity' }).fill('session_secret');
  await expect(events).toHaveCount(1);
  await events.getByText('Raw event').click();
  await expect(events.locator('pre')).toContainText('"added"');
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Export' }).click()]);
  expect(download.suggestedFilename()).toBe('activity.jsonl');

  // What is older than the span that is shown at first, and all that is kept, which is 90 days here.
  controlPlane(server, `UPDATE activity SET at = now() - interval '80 days', last_at = now() - interval '80 days' WHERE project_id = '${project.id}' AND title = 'Made the project'`);
  await page.reload();
  await hydrated(page);
  const span = page.getByLabel('Time span');
  await expect(span.locator('option')).toHaveText(['Last 24 hours', 'Last 7 days', 'Everything kept']);
  await expect(span.locator('option:checked')).toHaveText('Last 7 days');
  await expect(events.filter({ hasText: 'became Running' })).toBeVisible();
  await expect(events.filter({ hasText: 'Made the project' })).toHaveCount(0);
  await span.selectOption('Everything kept');
  await expect(events.filter({ hasText: 'Made the project' })).toBeVisible();
  await expect(page.getByRole('link', { name: 'Export' })).toHaveAttribute('href', new RegExp(`/api/projects/${project.id}/activity\\?format=jsonl$`));

  // Of all projects and the account, by the menu.
  await page.getByRole('button', { name: /^Account:/ }).click();
  await page.getByRole('menuitem', { name: 'All activity' }).click();
  await expect(page).toHaveURL(/\/activity$/);
  const made = events.filter({ hasText: 'Added SESSION_SECRET' });
  await expect(made.getByRole('link', { name: project.name })).toHaveAttribute('href', `/projects/${project.id}`);
  await inspect(page, 'activity');
  await page.getByRole('button', { name: 'Account', exact: true }).click();
  await expect(made).toHaveCount(0);
  await expect(events.filter({ hasText: /Signed in|Made the token/ }).first()).toBeVisible();
  await page.locator('#main').focus();
  await page.keyboard.press('/');
  await expect(page.getByRole('searchbox', { name: 'Search activity' })).toBeFocused();

  // Whoever reads further down is told that there is more, and nothing moves until they ask for it.
  const like = `project_id = '${project.id}' AND title = 'Made the project'`;
  controlPlane(
    server,
    `INSERT INTO activity (project_id, owner_id, project, at, last_at, kind, actor, via, title, data)
     SELECT project_id, owner_id, project, now(), now(), kind, actor, via, 'Looked around ' || n, data FROM activity, generate_series(1, 60) n WHERE ${like}`,
  );
  await page.goto(`/projects/${project.id}/activity`);
  await hydrated(page);
  await expect(events.first()).toContainText('Looked around 60');
  await page.evaluate(() => window.scrollTo(0, 400));
  const read = events.nth(20);
  const before = (await read.boundingBox())!.y;
  await api.must('PUT', `/api/projects/${project.id}/env`, { body: { set: { NEWER: '1' } } });
  const newer = page.getByRole('button', { name: 'Show 1 newer event' });
  await expect(newer).toBeVisible();
  expect((await read.boundingBox())!.y, 'what is read stays where it is').toBeCloseTo(before, 0);
  await expect(events.first()).toContainText('Looked around 60');
  await newer.click();
  await expect(events.first()).toContainText('Added NEWER');
  await expect(newer).toHaveCount(0);

  // So it is at the top of the page while the pointer is in the list: on a row that is still under it once the button is there.
  await events.nth(2).hover();
  expect(await page.evaluate(() => window.scrollY), 'nothing had to be scrolled for it').toBe(0);
  await api.must('PUT', `/api/projects/${project.id}/env`, { body: { set: { LATEST: '1' } } });
  await expect(newer).toBeVisible();
  await expect(events.first()).toContainText('Added NEWER');
  // The pointer leaves the list for it.
  await newer.click();
  await expect(events.first()).toContainText('Added LATEST');
  await expect(newer).toHaveCount(0);
});

test('a project that is gone is named in the activity of all, and is no link', async ({ api, visitor }) => {
  const gone = await api.running('Boats that sank');
  const page = await (await visitor()).newPage();
  await page.goto('/activity');
  await hydrated(page);
  const made = page.locator('.event').filter({ hasText: 'Made the project' }).filter({ hasText: gone.name });
  await expect(made.getByRole('link', { name: gone.name })).toBeVisible();
  await api.remove(gone.id);
  await page.goto('/activity');
  await hydrated(page);
  await expect(made).toContainText('Boats that sank (deleted)');
  await expect(made.getByRole('link')).toHaveCount(0);
});

test('the page of the API names what there is', async ({ visitor }) => {
  const page = await (await visitor()).newPage();
  await page.goto('/docs/api');
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('API');
  const operation = page.locator('#createProject');
  await operation.locator('summary').click();
  await operation.getByRole('link', { name: 'NewProject' }).click();
  await expect(page).toHaveURL(/#type-NewProject$/);
});

test('what is searched for is shown, whatever happens while it is read', async ({ project, visitor }) => {
  const page = await (await visitor()).newPage();
  await page.goto(`/projects/${project.id}/activity`);
  await hydrated(page);
  const events = page.locator('.event');
  await expect(events.filter({ hasText: 'became Running' })).toBeVisible();
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  await page.route(/\/activity\?.*search=/, async (route) => {
    await held;
    await route.continue();
  });
  await Promise.all([page.waitForRequest(/\/activity\?.*search=/), page.getByRole('searchbox', { name: 'Search activity' }).fill('made the project')]);
  // As the page does whenever something may be new.
  await page.locator('fsa-activity').evaluate((element) => element.parentElement!.setAttribute('data-state', 'another'));
  release();
  await expect(events).toHaveCount(1);
  await expect(events).toContainText('Made the project');
});
