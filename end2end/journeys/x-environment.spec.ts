// The variables of a project, all by its page: added, pasted as a whole `.env`, replaced, removed; a restart brings each in.
import type { Locator, Page } from '@playwright/test';
import type { Api, Project } from '../support/api.ts';
import { expect, test } from '../support/fixtures.ts';
import { inspect } from '../support/inspect.ts';
import { hydrated } from '../support/pages.ts';
import { until } from '../support/until.ts';

/** What waits for a restart. */
const waiting = (page: Page): Locator => page.getByRole('region', { name: /for a restart$/ });
const row = (page: Page, key: string): Locator => page.getByRole('row').filter({ has: page.getByText(key, { exact: true }) });
const notices = (page: Page): Locator => page.getByRole('status', { name: 'Notices' });

/** Restarts by the page's own button, once it says that it would change just this. */
async function restart(page: Page, api: Api, project: Project, changes: string[]): Promise<void> {
  const what = waiting(page).locator('details');
  await expect(what.locator('summary')).toContainText('What will change: + added, ~ changed, - removed');
  await expect(what.locator('code')).toHaveText(changes.join(' '));
  const { generation } = await api.sandbox(project.id);
  await waiting(page).getByRole('button', { name: 'Restart now' }).click();
  await until('the new run', async () => {
    const sandbox = await api.sandbox(project.id);
    return sandbox.generation > generation && sandbox.phase === 'Running' && !sandbox.restartPending;
  }, 30_000);
  await expect(waiting(page)).toHaveCount(0);
}

const PASTED = `# What the app wants
export QUOTED="two \\"words\\" # and no comment"
GREETING='hej hej' # a comment
CERTIFICATE="-----BEGIN-----
one line
-----END-----"
PATH=/x
`;

test('variables are added, pasted, replaced and removed, and each says what a restart will change', async ({ api, project, signedIn: page }) => {
  test.setTimeout(180_000);
  await page.goto(`/projects/${project.id}/environment`);
  await hydrated(page);

  // What is there already says where it comes from, and is not changed here.
  for (const key of ['DATABASE_URL', 'NODE_ENV']) {
    await expect(row(page, key)).toContainText('System');
    await expect(row(page, key).getByRole('button')).toHaveCount(0);
  }

  // One by hand; a name that cannot be one is said at its field.
  await page.getByRole('button', { name: 'Add variable' }).click();
  const adding = page.getByRole('dialog', { name: 'Add a variable' });
  const name = adding.getByRole('textbox', { name: 'Name' });
  await expect(name).toBeFocused();
  await name.fill('1ST');
  await adding.getByRole('button', { name: 'Save' }).click();
  await expect(adding).toContainText("1ST is not a variable's name");
  await expect(adding.locator('code', { hasText: '1ST' })).toBeVisible();
  await expect(name).toBeFocused();
  await expect(name).toHaveAttribute('aria-invalid', 'true');
  await name.fill('PATH');
  await adding.getByRole('button', { name: 'Save' }).click();
  await expect(adding).toContainText('PATH is set by FullStack Agent itself. Choose another name.');
  await inspect(page, 'environment-add');
  await name.fill('GREETING');
  await adding.getByRole('textbox', { name: 'Value' }).fill('hej');
  await adding.getByRole('button', { name: 'Save' }).click();
  await expect(adding).toHaveCount(0);
  await expect(notices(page)).toContainText('GREETING saved');
  await expect(row(page, 'GREETING')).toContainText('waits for restart');
  await expect(row(page, 'GREETING')).toContainText('3 bytes');
  await expect(row(page, 'GREETING')).toContainText('Project');
  await expect(waiting(page)).toContainText('1 change waits for a restart');
  await inspect(page, 'environment-pending');
  await restart(page, api, project, ['+ GREETING']);
  expect(await api.output(project.id, 'printf %s "$GREETING"')).toBe('hej');
  await expect(row(page, 'GREETING')).not.toContainText('waits for restart');

  // A whole file, with quotes, several lines and what cannot be set.
  await page.getByRole('button', { name: 'Paste .env' }).click();
  const pasting = page.getByRole('dialog', { name: 'Paste a .env file' });
  const text = pasting.getByRole('textbox', { name: 'Lines of NAME=value' });
  await expect(text).toBeFocused();
  await expect(pasting.getByRole('button', { name: 'Save variables' })).toHaveAttribute('aria-disabled', 'true');
  await text.fill(PASTED);
  await expect(pasting.getByRole('status')).toContainText('3 variables read');
  await expect(pasting.getByRole('status')).toContainText('Line 7 is skipped: PATH is set by FullStack Agent itself.');
  await expect(pasting.getByRole('group', { name: /^What is saved/ })).toHaveText('+ CERTIFICATE ~ GREETING + QUOTED');
  await inspect(page, 'environment-paste');
  await pasting.getByRole('button', { name: 'Save variables' }).click();
  await expect(pasting).toHaveCount(0);
  await expect(notices(page)).toContainText('3 variables saved');
  for (const key of ['CERTIFICATE', 'GREETING', 'QUOTED']) await expect(row(page, key)).toContainText('waits for restart');
  await expect(row(page, 'PATH')).toHaveCount(0);
  await expect(page.locator('body'), 'values are write-only').not.toContainText('hej hej');
  await restart(page, api, project, ['+ CERTIFICATE', '~ GREETING', '+ QUOTED']);
  expect(await api.output(project.id, 'printf "%s|%s|%s" "$GREETING" "$QUOTED" "$CERTIFICATE"')).toBe(
    'hej hej|two "words" # and no comment|-----BEGIN-----\none line\n-----END-----',
  );
  expect(await api.output(project.id, 'printf %s "$PATH"')).not.toBe('/x');

  // Another value, of which only the new one is asked for.
  await page.getByRole('button', { name: 'Replace GREETING' }).click();
  const replacing = page.getByRole('dialog', { name: 'Replace GREETING' });
  await expect(replacing.getByRole('textbox', { name: 'Value' })).toBeFocused();
  await expect(replacing.getByRole('textbox', { name: 'Value' })).toHaveValue('');
  await expect(replacing.getByRole('textbox', { name: 'Name' })).toHaveCount(0);
  await inspect(page, 'environment-replace');
  await replacing.getByRole('textbox', { name: 'Value' }).fill('hallo\nallesammans');
  await replacing.getByRole('button', { name: 'Save' }).click();
  await expect(replacing).toHaveCount(0);
  await expect(row(page, 'GREETING')).toContainText('waits for restart');

  // Found by a part of the name, and by where they come from; what changes meanwhile keeps to it.
  const search = page.getByRole('searchbox', { name: 'Search variables' });
  const bySource = page.getByRole('group', { name: 'Filter by source' });
  const variables = page.getByRole('table', { name: 'Environment variables' }).locator('tbody').first().getByRole('row');
  const count = page.locator('fsa-filter').getByRole('status');
  await expect(count).toHaveText(/^\d+ variables$/);
  await page.locator('h1').click();
  await page.keyboard.press('/');
  await expect(search).toBeFocused();
  await search.fill('greet');
  await expect(variables).toHaveCount(1);
  await expect(count).toHaveText(/^1 of \d+ variables$/);
  await search.fill('nothing of the kind');
  await expect(variables).toHaveCount(0);
  await expect(page.getByRole('cell', { name: 'No variable matches.' })).toBeVisible();
  await inspect(page, 'environment-no-match');
  await search.fill('');
  await bySource.getByRole('button', { name: /^Project 3$/ }).click();
  await expect(bySource.getByRole('button', { name: /^Project/ })).toHaveAttribute('aria-pressed', 'true');
  await expect(bySource.getByRole('button', { name: /^Project/ })).toBeFocused();
  await expect(variables).toHaveCount(3);
  await expect(row(page, 'DATABASE_URL')).toHaveCount(0);
  await inspect(page, 'environment-filtered');
  await page.getByRole('button', { name: 'Add variable' }).click();
  await name.fill('ADDED');
  await adding.getByRole('button', { name: 'Save' }).click();
  await expect(row(page, 'ADDED')).toBeVisible();
  await expect(variables).toHaveCount(4);
  await expect(bySource.getByRole('button', { name: /^Project 4$/ })).toHaveAttribute('aria-pressed', 'true');
  await bySource.getByRole('button', { name: /^All/ }).click();
  await expect(row(page, 'DATABASE_URL')).toBeVisible();

  // Gone, but not on the safe answer.
  await page.getByRole('button', { name: 'Remove QUOTED' }).click();
  const removing = page.getByRole('alertdialog', { name: 'Remove QUOTED?' });
  await expect(removing.getByRole('button', { name: 'Keep it' })).toBeFocused();
  await inspect(page, 'environment-remove');
  await removing.getByRole('button', { name: 'Keep it' }).click();
  await expect(removing).toHaveCount(0);
  await expect(row(page, 'QUOTED')).toBeVisible();
  await expect(page.getByRole('button', { name: 'Remove QUOTED' })).toBeFocused();
  await page.getByRole('button', { name: 'Remove QUOTED' }).click();
  await removing.getByRole('button', { name: 'Remove it' }).click();
  await expect(row(page, 'QUOTED')).toHaveCount(0);
  await expect(page.getByRole('button', { name: 'Add variable' })).toBeFocused();
  await restart(page, api, project, ['+ ADDED', '~ GREETING', '- QUOTED']);
  expect(await api.output(project.id, 'printf "%s|%s" "$GREETING" "${QUOTED-none}"')).toBe('hallo\nallesammans|none');
});
