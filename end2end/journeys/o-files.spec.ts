// Files of a sandbox: the page with its tree and its editor, what is dropped into a terminal, and what a preview's
// owner shares.
import AxeBuilder from '@axe-core/playwright';
import type { Locator, Page } from '@playwright/test';
import { expect, test } from '../support/fixtures.ts';
import { Workspace, hydrated } from '../support/pages.ts';
import { until } from '../support/until.ts';

async function files(page: Page, project: string): Promise<Locator> {
  await page.goto(`/projects/${project}/files`);
  await hydrated(page);
  const tree = page.getByRole('tree', { name: 'Files' });
  await expect(tree).toBeVisible();
  return tree;
}

const row = (tree: Locator, name: string): Locator => tree.getByRole('treeitem').filter({ has: tree.page().getByText(name, { exact: true }) });

/** Drops files made in the page, as a desktop would. */
async function drop(target: Locator, name: string, content: string): Promise<void> {
  const data = await target.page().evaluateHandle(
    ([name, content]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([content!], name!, { type: 'text/plain' }));
      return transfer;
    },
    [name, content],
  );
  await target.dispatchEvent('dragover', { dataTransfer: data });
  await target.dispatchEvent('drop', { dataTransfer: data });
}

test('files: made, edited, renamed, deleted, all by keyboard', async ({ api, project, signedIn: page }) => {
  await api.output(project.id, 'mkdir -p src && echo "fn main() {}" > src/main.rs');
  const tree = await files(page, project.id);
  await row(tree, 'src').focus();
  await page.keyboard.press('ArrowRight');
  await expect(row(tree, 'src')).toHaveAttribute('aria-expanded', 'true');
  await expect(row(tree, 'main.rs')).toHaveAttribute('aria-level', '2');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('Enter');
  const editor = page.getByRole('textbox', { name: 'Content of src/main.rs' });
  await expect(editor).toHaveValue('fn main() {}\n');
  await editor.press('ControlOrMeta+End');
  await page.keyboard.type('// more');
  await expect(page.getByText('Not saved yet')).toBeVisible();
  await page.keyboard.press('ControlOrMeta+s');
  await expect(page.getByText('Saved', { exact: true })).toBeVisible();
  expect(await api.output(project.id, 'cat src/main.rs')).toBe('fn main() {}\n// more');

  await row(tree, 'main.rs').focus();
  await page.keyboard.press('F2');
  await page.getByLabel('New name').fill('lib.rs');
  await page.keyboard.press('Enter');
  await expect(row(tree, 'lib.rs')).toBeFocused();
  await expect(page.getByRole('heading', { name: 'src/lib.rs' })).toBeVisible();
  await page.keyboard.press('Delete');
  await expect(page.getByRole('button', { name: 'Keep the file' })).toBeFocused();
  await page.getByRole('button', { name: 'Delete the file' }).press('Enter');
  await expect(row(tree, 'lib.rs')).toHaveCount(0);
  expect((await api.output(project.id, 'ls src')).trim()).toBe('');
  const { violations } = await new AxeBuilder({ page }).analyze();
  expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`)).toEqual([]);
});

test('files: who saves second sees both versions', async ({ api, project, signedIn: page, allowConsole }) => {
  allowConsole(/409 \(Conflict\)/);
  await api.output(project.id, 'printf first > notes.md');
  const tree = await files(page, project.id);
  await row(tree, 'notes.md').click();
  const editor = page.getByRole('textbox', { name: 'Content of notes.md' });
  await editor.fill('mine');
  await api.output(project.id, 'printf theirs > notes.md');
  await page.getByRole('button', { name: 'Save' }).click();
  const conflict = page.getByRole('alertdialog');
  await expect(conflict).toContainText('The file was changed since you read it.');
  await expect(conflict).toContainText('theirs');
  await expect(editor).toHaveValue('mine');
  expect(await api.output(project.id, 'cat notes.md')).toBe('theirs');
  await conflict.getByRole('button', { name: 'Replace it with mine' }).click();
  await expect(page.getByText('Saved', { exact: true })).toBeVisible();
  expect(await api.output(project.id, 'cat notes.md')).toBe('mine');
});

test('files: dropped, downloaded, and what cannot be shown says why', async ({ api, project, signedIn: page }) => {
  await api.output(project.id, "head -c 2000000 /dev/zero > big && printf '\\0\\1' > binary && mkdir up");
  const tree = await files(page, project.id);
  await drop(row(tree, 'up'), 'dropped ü.txt', 'from the desktop');
  await expect(page.getByText('dropped ü.txt was uploaded.')).toBeVisible();
  expect(await api.output(project.id, "cat 'up/dropped ü.txt'")).toBe('from the desktop');
  await row(tree, 'big').click();
  await expect(page.getByText('2 MB are too much to show here.')).toBeVisible();
  await row(tree, 'binary').click();
  await expect(page.getByText('This is not text: it is not shown here.')).toBeVisible();
  const downloading = page.waitForEvent('download');
  await page.getByRole('link', { name: 'Download', exact: true }).click();
  expect((await downloading).suggestedFilename()).toBe('binary');
  await page.setViewportSize({ width: 320, height: 640 });
  await page.getByRole('button', { name: 'Back to the tree' }).click();
  await expect(row(tree, 'binary')).toBeFocused();
  expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
});

test('a file dropped into a terminal is uploaded to its folder, and its path is typed', async ({ api, project, visitor }) => {
  const workspace = await new Workspace(await (await visitor()).newPage()).open(project.id);
  const terminal = await workspace.terminal().prompt();
  await terminal.enter('mkdir -p "a b" && cd "a b"');
  await terminal.prompt();
  await drop(workspace.page.locator('.fsa-terminal').first(), "it's.txt", 'dropped');
  await terminal.sees(/'[^\n]*\/a b\/it'\\''s\.txt'/);
  expect(await api.output(project.id, `cat "a b/it's.txt"`)).toBe('dropped');
});

test('a preview is shared by a link that a stranger can open, until it is withdrawn', async ({ api, project, visitor, allowConsole }) => {
  allowConsole(/401 \(Unauthorized\)/);
  const workspace = await new Workspace(await (await visitor()).newPage()).open(project.id);
  const { page } = workspace;
  await page.getByRole('button', { name: 'Share preview' }).click();
  const panel = page.getByRole('dialog', { name: 'Share preview' });
  await panel.getByRole('radio', { name: /Public link/ }).check();
  await panel.getByRole('button', { name: 'Set' }).click();
  const url = await panel.getByRole('textbox', { name: 'Public link' }).inputValue();
  const stranger = await (await visitor({ signedIn: false })).newPage();
  await stranger.goto(url);
  await expect(stranger.getByRole('heading', { name: 'Nothing listens on port 3000' })).toBeVisible();
  await panel.getByRole('radio', { name: /Private/ }).check();
  await panel.getByRole('button', { name: 'Set' }).click();
  await expect(panel.getByText('Private.', { exact: true })).toBeVisible();
  await until('the link to be over', async () => (await stranger.reload(), await stranger.getByText('This link was withdrawn').isVisible()), 5_000);
  expect((await api.must('GET', `/api/projects/${project.id}/ports/3000/share`)).audience).toBe('private');
});
