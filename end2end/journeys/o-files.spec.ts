// Files of a sandbox: the page with its tree and its editor, what is dropped into a terminal, and what a preview's
// owner shares.
import AxeBuilder from '@axe-core/playwright';
import type { Locator, Page } from '@playwright/test';
import { serve } from '../support/apps.ts';
import { expect, test } from '../support/fixtures.ts';
import { inspect } from '../support/inspect.ts';
import { Workspace, hydrated } from '../support/pages.ts';
import { until } from '../support/until.ts';
import { controlPlane } from '../support/world.ts';

async function files(page: Page, project: string): Promise<Locator> {
  await page.goto(`/projects/${project}/files`);
  await hydrated(page);
  const tree = page.getByRole('tree', { name: 'Files' });
  await expect(tree).toBeVisible();
  return tree;
}

const row = (tree: Locator, name: string): Locator => tree.getByRole('treeitem').filter({ has: tree.page().getByText(name, { exact: true }) });

/** Pastes a file, and the text beside it if there is some, as what the clipboard of a desktop holds. */
async function paste(target: Locator, name: string, content: string, text = ''): Promise<void> {
  await target.evaluate(
    (element, [name, content, text]) => {
      const clipboardData = new DataTransfer();
      clipboardData.items.add(new File([content!], name!, { type: 'image/png' }));
      if (text) clipboardData.setData('text/plain', text);
      element.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }));
    },
    [name, content, text],
  );
}

/** Drops files made in the page, as a desktop would: their content by their names. */
async function dropAll(target: Locator, files: Record<string, string>): Promise<void> {
  const data = await target.page().evaluateHandle((files) => {
    const transfer = new DataTransfer();
    for (const [name, content] of Object.entries(files)) transfer.items.add(new File([content], name, { type: 'text/plain' }));
    return transfer;
  }, files);
  await target.dispatchEvent('dragover', { dataTransfer: data });
  await target.dispatchEvent('drop', { dataTransfer: data });
}

const drop = (target: Locator, name: string, content: string): Promise<void> => dropAll(target, { [name]: content });

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
  const dialog = page.getByRole('dialog', { name: 'Move or rename main.rs' });
  await expect(dialog.getByLabel('Name')).toBeFocused();
  await inspect(page, 'files-rename');
  await dialog.getByLabel('Name').fill('lib.rs');
  await page.keyboard.press('Enter');
  await expect(row(tree, 'lib.rs')).toBeFocused();
  await expect(page.getByRole('heading', { name: 'src/lib.rs' })).toBeVisible();
  await page.keyboard.press('Delete');
  await expect(page.getByRole('button', { name: 'Keep the file' })).toBeFocused();
  await inspect(page, 'files-delete');
  await page.getByRole('button', { name: 'Delete the file' }).press('Enter');
  await expect(row(tree, 'lib.rs')).toHaveCount(0);
  expect((await api.output(project.id, 'ls src')).trim()).toBe('');
  const { violations } = await new AxeBuilder({ page }).analyze();
  expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`)).toEqual([]);
});

test('files: dragged onto a folder and home again, and never over what is there', async ({ api, project, signedIn: page, allowConsole }) => {
  allowConsole(/409 \(Conflict\)/);
  await api.output(project.id, 'mkdir -p docs src/inner && echo mine > notes.md && echo theirs > src/notes.md && echo "fn main() {}" > src/main.rs');
  const tree = await files(page, project.id);
  const home = page.locator('.file-home');
  const drag = async (from: Locator, to: Locator): Promise<void> => {
    await from.hover();
    await page.mouse.down();
    // The first move begins the drag; what it is over hears of it with the next.
    await to.hover();
    await to.hover();
  };
  await drag(row(tree, 'notes.md'), row(tree, 'docs'));
  await expect(row(tree, 'docs')).toHaveAttribute('data-drop', '');
  await page.mouse.up();
  const notices = page.getByRole('status', { name: 'Notices' });
  await expect(notices).toContainText('notes.md was moved');
  await expect(row(tree, 'notes.md')).toHaveAttribute('aria-level', '2');
  await expect(row(tree, 'notes.md')).toBeFocused();
  await expect(tree.locator('[data-drop]')).toHaveCount(0);
  expect(await api.output(project.id, 'cat docs/notes.md; ls notes.md 2>/dev/null || echo gone')).toBe('mine\ngone\n');
  const undo = notices.getByRole('button', { name: 'Undo' });
  // It stays while it has the focus.
  await undo.focus();
  await inspect(page, 'files-moved');
  await undo.click();
  await expect(row(tree, 'notes.md')).toHaveAttribute('aria-level', '1');
  await expect(page.getByText('notes.md is back.')).toBeVisible();
  await expect(notices).not.toContainText('notes.md');
  expect(await api.output(project.id, 'cat notes.md; ls docs')).toBe('mine\n');

  // What has the name stays, whatever is answered.
  await drag(row(tree, 'notes.md'), row(tree, 'src'));
  await expect(row(tree, 'src')).toHaveAttribute('data-drop', '');
  await page.mouse.up();
  const taken = page.getByRole('alertdialog', { name: 'notes.md is taken' });
  await expect(taken.getByRole('button', { name: 'Leave it where it was' })).toBeFocused();
  await inspect(page, 'files-taken');
  await taken.getByRole('button', { name: 'Keep both' }).click();
  await expect(row(tree, 'notes (2).md')).toHaveAttribute('aria-level', '2');
  expect(await api.output(project.id, "cat src/notes.md 'src/notes (2).md'")).toBe('theirs\nmine\n');

  await drag(row(tree, 'src'), row(tree, 'inner'));
  await expect(page.getByText('src cannot be moved into itself.')).toBeVisible();
  await expect(tree.locator('[data-drop]')).toHaveCount(0);
  await page.mouse.up();
  expect(await api.output(project.id, 'ls -d src/inner')).toBe('src/inner\n');

  // A file that is open goes along with what was typed, and is saved where it is.
  await row(tree, 'main.rs').click();
  await page.getByRole('textbox', { name: 'Content of src/main.rs' }).fill('fn main() { run() }');
  await drag(row(tree, 'main.rs'), home);
  await expect(home).toHaveAttribute('data-drop', '');
  await page.mouse.up();
  await expect(row(tree, 'main.rs')).toHaveAttribute('aria-level', '1');
  await expect(page.getByRole('textbox', { name: 'Content of main.rs' })).toHaveValue('fn main() { run() }');
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByText('Saved', { exact: true })).toBeVisible();
  expect(await api.output(project.id, 'cat main.rs; ls src/main.rs 2>/dev/null || echo gone')).toBe('fn main() { run() }gone\n');
});

test('files: moved by keyboard, with a sentence where that cannot be', async ({ api, project, signedIn: page, allowConsole }) => {
  allowConsole(/40[49] \(/);
  await api.output(project.id, 'mkdir -p docs/old src/inner && echo mine > notes.md && echo theirs > docs/notes.md');
  const tree = await files(page, project.id);
  const move = async (name: string) => {
    await row(tree, name).focus();
    await page.keyboard.press('F2');
    const dialog = page.getByRole('dialog', { name: `Move or rename ${name}` });
    const send = dialog.getByRole('button', { name: 'Move or rename' });
    return { dialog, name: dialog.getByLabel('Name'), folder: dialog.getByLabel('Folder'), send: () => send.press('Enter') };
  };
  const notes = await move('notes.md');
  await expect(notes.name).toBeFocused();
  await notes.folder.fill('docs');
  await notes.send();
  await expect(notes.dialog).toContainText('docs/notes.md exists already. Choose another name');
  await expect(notes.name).toBeFocused();
  await expect(notes.name).toHaveAttribute('aria-invalid', 'true');
  await notes.folder.fill('nowhere');
  await notes.send();
  await expect(notes.dialog).toContainText('There is no nowhere.');
  await expect(notes.folder).toBeFocused();
  await expect(notes.name).not.toHaveAttribute('aria-invalid', 'true');
  await notes.folder.fill('docs/..');
  await notes.send();
  await expect(notes.dialog).toContainText('Write the path from the home folder on: .. is not followed.');
  await inspect(page, 'files-move');
  expect(await api.output(project.id, 'cat notes.md docs/notes.md')).toBe('mine\ntheirs\n');
  // A folder that was never opened.
  await notes.folder.fill('~/docs/old/');
  await notes.name.fill('my notes.md');
  await notes.send();
  await expect(notes.dialog).toHaveCount(0);
  await expect(row(tree, 'my notes.md')).toBeFocused();
  await expect(row(tree, 'my notes.md')).toHaveAttribute('aria-level', '3');
  expect(await api.output(project.id, "cat 'docs/old/my notes.md'")).toBe('mine\n');
  await page.keyboard.press('ControlOrMeta+z');
  await expect(page.getByText('notes.md is back.')).toBeVisible();
  expect(await api.output(project.id, 'cat notes.md docs/notes.md; ls docs/old')).toBe('mine\ntheirs\n');

  const src = await move('src');
  await src.folder.fill('src/inner');
  await src.send();
  await expect(src.dialog).toContainText('src cannot be moved into itself. Choose a folder that is not in it.');
  await page.keyboard.press('Escape');
  await expect(src.dialog).toHaveCount(0);
  await expect(row(tree, 'src')).toBeFocused();
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
  await inspect(page, 'files-conflict');
  await conflict.getByRole('button', { name: 'Replace it with mine' }).click();
  await expect(page.getByText('Saved', { exact: true })).toBeVisible();
  expect(await api.output(project.id, 'cat notes.md')).toBe('mine');
});

test('files: what was typed and is not saved is asked about where a link leads away, and is there again after the way back', async ({ api, project, signedIn: page, allowConsole }) => {
  allowConsole(/503 \(Service Unavailable\)/);
  await api.output(project.id, 'printf before > notes.md');
  await new Workspace(page).open(project.id);
  const link = (name: string): Locator => page.getByRole('navigation', { name: 'Project' }).getByRole('link', { name, exact: true });
  const tree = page.getByRole('tree', { name: 'Files' });
  const editor = page.getByRole('textbox', { name: 'Content of notes.md' });
  const asked = page.getByRole('alertdialog', { name: 'Leave notes.md without saving?' });
  const restored = page.getByText('What you typed here before and did not save is back.');
  const kept = () => page.evaluate(() => sessionStorage.getItem('fsa.drafts'));
  await link('Files').click();
  await row(tree, 'notes.md').click();
  await editor.fill('typed');
  await link('Terminal').click();
  await expect(asked.getByRole('button', { name: 'Keep editing' })).toBeFocused();
  await page.keyboard.press('Escape');
  await expect(editor).toHaveValue('typed');
  await expect(page).toHaveURL(/\/files$/);

  await page.goBack();
  await expect(page.getByRole('status', { name: 'Notices' })).toContainText('notes.md is not saved');
  await page.goForward();
  await row(tree, 'notes.md').click();
  await expect(restored).toBeVisible();
  await expect(editor).toHaveValue('typed');
  await expect(page.getByText('Not saved yet')).toBeVisible();
  await inspect(page, 'files-draft');
  await page.getByRole('button', { name: 'Discard it' }).click();
  await expect(editor).toHaveValue('before');
  await expect(editor).toBeFocused();
  await expect(restored).toHaveCount(0);

  // Given up by the answer: nothing of it is kept.
  await editor.fill('given up');
  await link('Terminal').click();
  await asked.getByRole('button', { name: 'Leave it' }).click();
  await expect(page).toHaveURL(new RegExp(`/projects/${project.id}$`));
  expect(await kept()).toBeNull();
  await page.goBack();
  await row(tree, 'notes.md').click();
  await expect(editor).toHaveValue('before');

  // Nor after a sign-out.
  await editor.fill('of whoever was here');
  await page.goBack();
  await expect.poll(kept).toContain('of whoever was here');
  const signOut = async (status: number): Promise<void> => {
    await page.route('**/api/sign-out', (route) => route.fulfill({ status, json: {} }));
    await page.getByRole('button', { name: /^Account/ }).click();
    await page.getByRole('menuitem', { name: 'Sign out' }).click();
  };
  // One that is refused takes none, also where the page is loaded again.
  await signOut(503);
  await expect(page.getByRole('status', { name: 'Notices' })).toContainText('You are still signed in');
  await page.reload();
  expect(await kept()).toContain('of whoever was here');
  await signOut(200);
  await page.waitForURL((url) => !url.pathname.startsWith('/projects/'));
  expect(await kept()).toBeNull();
});

test('files: saved again while a save is under way, what was typed last is there, and nobody is said to have changed it', async ({ api, project, signedIn: page }) => {
  await api.output(project.id, 'printf first > notes.md');
  const tree = await files(page, project.id);
  await row(tree, 'notes.md').click();
  const editor = page.getByRole('textbox', { name: 'Content of notes.md' });
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  const saves: string[] = [];
  await page.route('**/files/notes.md', async (route) => {
    if (route.request().method() === 'PUT') {
      saves.push(route.request().postData() ?? '');
      await held;
    }
    await route.continue();
  });
  await editor.fill('second');
  await page.keyboard.down('Control');
  // Held, the key repeats.
  for (let repeat = 0; repeat < 3; repeat += 1) await page.keyboard.down('s');
  await page.keyboard.up('s');
  await page.keyboard.up('Control');
  await editor.fill('third');
  await editor.press('Control+s');
  await until('the first save to be sent', () => saves.length === 1);
  release();
  await expect(page.getByText('Saved', { exact: true })).toBeVisible();
  await expect(page.getByRole('alertdialog')).toHaveCount(0);
  expect(saves).toEqual(['second', 'third']);
  expect(await api.output(project.id, 'cat notes.md')).toBe('third');
});

test('files: what is saved after its page was left is not said to be unsaved any more', async ({ api, project, signedIn: page }) => {
  await api.output(project.id, 'printf before > notes.md');
  await new Workspace(page).open(project.id);
  await page.getByRole('navigation', { name: 'Project' }).getByRole('link', { name: 'Files', exact: true }).click();
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  await page.route('**/files/notes.md', async (route) => {
    if (route.request().method() === 'PUT') await held;
    await route.continue();
  });
  await row(page.getByRole('tree', { name: 'Files' }), 'notes.md').click();
  const editor = page.getByRole('textbox', { name: 'Content of notes.md' });
  await editor.fill('saved late');
  const sent = page.waitForRequest((request) => request.method() === 'PUT' && request.url().endsWith('/files/notes.md'));
  await editor.press('Control+s');
  await sent;
  await page.goBack();
  const told = page.getByRole('status', { name: 'Notices' }).getByText('notes.md is not saved');
  await expect(told).toBeVisible();
  // It stays while the pointer is on it.
  await told.hover();
  release();
  await expect(told).toHaveCount(0);
  expect(await page.evaluate(() => sessionStorage.getItem('fsa.drafts'))).toBeNull();
  expect(await api.output(project.id, 'cat notes.md')).toBe('saved late');
});

test('files: a save that does not end holds up none of another file', async ({ api, project, signedIn: page }) => {
  await api.output(project.id, 'printf one > one.md && printf two > two.md');
  const tree = await files(page, project.id);
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  let saves = 0;
  await page.route('**/files/one.md', async (route) => {
    if (route.request().method() === 'PUT') {
      saves += 1;
      await held;
    }
    await route.continue();
  });
  await row(tree, 'one.md').click();
  const one = page.getByRole('textbox', { name: 'Content of one.md' });
  await one.fill('one more');
  await one.press('Control+s');
  await until('the save to be sent', () => saves === 1);
  // Asked for again: it waits, and is nothing to the other file.
  await one.press('Control+s');
  await row(tree, 'two.md').click();
  await page.getByRole('alertdialog', { name: 'Leave one.md without saving?' }).getByRole('button', { name: 'Leave it' }).click();
  const two = page.getByRole('textbox', { name: 'Content of two.md' });
  await two.fill('two more');
  await two.press('Control+s');
  await expect(page.getByText('Saved', { exact: true })).toBeVisible();
  expect(await api.output(project.id, 'cat two.md')).toBe('two more');
  await two.fill('typed, and not saved');
  const over = page.waitForResponse((answer) => answer.url().endsWith('/files/one.md') && answer.request().method() === 'PUT');
  release();
  await over;
  await expect(page.getByText('Not saved yet')).toBeVisible();
  expect(await api.output(project.id, 'cat one.md two.md')).toBe('one moretwo more');
});

test('files: dropped, downloaded, and what cannot be shown says why', async ({ api, project, signedIn: page, allowConsole }) => {
  allowConsole(/409 \(Conflict\)/);
  await api.output(project.id, "head -c 2000000 /dev/zero > big && printf '\\0\\1' > binary && mkdir up");
  const tree = await files(page, project.id);
  await drop(row(tree, 'up'), 'dropped ü.txt', 'from the desktop');
  await expect(page.getByText('dropped ü.txt was uploaded.')).toBeVisible();
  expect(await api.output(project.id, "cat 'up/dropped ü.txt'")).toBe('from the desktop');
  // Again: what is there is not written over without a word.
  await drop(row(tree, 'up'), 'dropped ü.txt', 'another one');
  const taken = page.getByRole('alertdialog', { name: 'Replace dropped ü.txt?' });
  await expect(taken.getByRole('button', { name: 'Keep it' })).toBeFocused();
  await inspect(page, 'files-replace');
  await taken.getByRole('button', { name: 'Keep both' }).click();
  await expect(row(tree, 'dropped ü (2).txt')).toBeVisible();
  expect(await api.output(project.id, "cat 'up/dropped ü.txt' 'up/dropped ü (2).txt'")).toBe('from the desktopanother one');
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

test('files: an answer that breaks off stops neither the uploads behind it nor the tree', async ({ api, project, signedIn: page }) => {
  await api.output(project.id, 'mkdir up');
  const tree = await files(page, project.id);
  let answers = 0;
  await page.route('**/files/up', async (route) => {
    if (answers++ === 0) await route.fulfill({ contentType: 'application/json', body: '{"entries":[' });
    else await route.continue();
  });
  await drop(row(tree, 'up'), 'one.txt', 'one');
  await expect(tree.getByText('The server does not answer.')).toBeVisible();
  await drop(row(tree, 'up'), 'two.txt', 'two');
  await expect(row(tree, 'two.txt')).toBeVisible();
  expect(await api.output(project.id, 'cat up/one.txt up/two.txt')).toBe('onetwo');
});

test('files: a name on two lines and one that is no text are each one row, opened, saved and deleted as what they are', async ({ api, project, signedIn: page }) => {
  const [two, raw] = ['two\uFFFDlines', 'raw\uFFFD'];
  const names = `"$(printf 'two\\nlines')" "$(printf 'raw\\377')"`;
  await api.output(project.id, `mkdir odd && cd odd && for name in ${names}; do printf before > "$name"; done`);
  const tree = await files(page, project.id);
  await row(tree, 'odd').click();
  for (const name of [two, raw]) {
    await row(tree, name).click();
    const editor = page.getByRole('textbox', { name: `Content of odd/${name}` });
    await expect(editor).toHaveValue('before');
    await editor.fill('after ');
    await page.getByRole('button', { name: 'Save' }).click();
    await expect(page.getByText('Saved', { exact: true })).toBeVisible();
  }
  expect(await api.output(project.id, `cd odd && cat ${names} && set -- * && echo $#`), 'no other file was made').toBe('after after 2\n');
  for (const name of [two, raw]) {
    await row(tree, name).focus();
    await page.keyboard.press('Delete');
    await page.getByRole('button', { name: 'Delete the file' }).press('Enter');
    await expect(row(tree, name)).toHaveCount(0);
  }
  expect(await api.output(project.id, 'ls -A odd')).toBe('');
});

test('files: of a sandbox that is stopped there are none, and once it is started from there they come by themselves', async ({ api, project, signedIn: page, allowConsole }) => {
  allowConsole(/status of 409/);
  await api.output(project.id, 'echo ahoy > kept.txt');
  const tree = await files(page, project.id);
  const other = await page.context().newPage();
  const seen = await files(other, project.id);
  await api.act(project.id, 'stop');
  await api.reaches(project.id, 'Stopped');
  const tools = page.getByRole('toolbar', { name: 'Files' });
  await tools.getByRole('button', { name: 'New folder' }).click();
  await page.getByRole('dialog', { name: 'New folder' }).getByLabel('Name').fill('docs');
  await page.keyboard.press('Enter');
  const stopped = page.getByRole('heading', { name: 'The sandbox is stopped' });
  const start = (of: Page): Locator => of.getByRole('region', { name: 'File', exact: true }).getByRole('button', { name: 'Start' });
  await expect(stopped).toBeVisible();
  await expect(start(page), 'the focus goes from the tool that rests to what starts it').toBeFocused();
  await expect(tree).toBeHidden();
  await expect(page.getByText(/drop files here/)).toHaveCount(0);
  for (const name of ['Upload', 'New file', 'New folder', 'Move or rename…', 'Delete']) await expect(tools.getByRole('button', { name, exact: true })).toBeDisabled();
  await inspect(page, 'files-stopped');
  // A file that is opened only now leads there, too.
  await row(seen, 'kept.txt').click();
  await expect(other.getByRole('heading', { name: 'The sandbox is stopped' })).toBeVisible();
  await expect(start(other)).toBeFocused();
  await other.close();
  // The same to somebody who comes only now.
  await page.reload();
  await hydrated(page);
  await expect(stopped).toBeVisible();
  await start(page).press('Enter');
  await expect(row(tree, 'kept.txt')).toBeVisible({ timeout: 60_000 });
  await expect(tools.getByRole('button', { name: 'Upload' })).toBeEnabled();
  await expect(page.getByText(/drop files here/)).toBeVisible();
  await expect(tree.getByRole('treeitem').first(), 'the focus goes from the button to what it brought').toBeFocused();
  // What was typed and cannot be saved stays, and has the focus.
  await row(tree, 'kept.txt').click();
  const editor = page.getByRole('textbox', { name: 'Content of kept.txt' });
  await editor.fill('ahoy again');
  await api.act(project.id, 'stop');
  await api.reaches(project.id, 'Stopped');
  await editor.press('ControlOrMeta+s');
  await expect(page.locator('.file-state')).toContainText('Not saved: ');
  await expect(tree).toBeHidden();
  await expect(editor).toHaveValue('ahoy again');
  await expect(editor).toBeFocused();
});

test('a file dropped into a terminal is uploaded to its folder, and its path is typed', async ({ api, project, visitor }) => {
  const workspace = await new Workspace(await (await visitor()).newPage()).open(project.id);
  const terminal = await workspace.terminal().prompt();
  await terminal.enter('mkdir -p "a b" && cd "a b" && echo in""side');
  await terminal.sees(/^inside$/m);
  await drop(workspace.page.locator('.fsa-terminal').first(), "it's.txt", 'dropped');
  await terminal.sees(/'[^\n]*\/a b\/it'\\''s\.txt'/);
  expect(await api.output(project.id, `cat "a b/it's.txt"`)).toBe('dropped');
});

test('files dropped into a terminal are uploaded while another page is looked at, each by itself, and that page says how it ended', async ({ api, project, visitor, allowConsole }) => {
  allowConsole(/status of 409/);
  const workspace = await new Workspace(await (await visitor()).newPage()).open(project.id);
  const { page } = workspace;
  const terminal = await workspace.terminal().prompt();
  await terminal.enter('mkdir -p in && cd in && echo in""side');
  await terminal.sees(/^inside$/m);
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  await page.route('**/files/in/*', async (route) => {
    await held;
    if (!route.request().url().endsWith('/b.txt')) await route.continue();
    else await route.fulfill({ status: 409, json: { details: { code: 'dangling-link', message: 'It is a link to nothing.' } } });
  });
  await dropAll(page.locator('.fsa-terminal').first(), { 'a.txt': 'a', 'b.txt': 'b', 'c.txt': 'c' });
  await expect(page.locator('.fsa-terminal-notice', { hasText: 'Uploading a.txt' })).toBeVisible();
  const asks = () => page.evaluate(() => !dispatchEvent(new Event('beforeunload', { cancelable: true })));
  expect(await asks()).toBe(true);
  await page.getByRole('navigation', { name: 'Project' }).getByRole('link', { name: 'Files' }).click();
  await expect(page.getByRole('tree', { name: 'Files' })).toBeVisible();
  release();
  await expect(page.getByRole('status', { name: 'Notices' })).toContainText('1 of 3 was not uploaded: b.txt. It is a link to nothing.');
  expect(await api.output(project.id, 'cd in && cat *')).toBe('ac');
  expect(await asks()).toBe(false);
});

test('files dropped into a terminal are stopped over it and from another page', async ({ api, project, visitor }) => {
  const workspace = await new Workspace(await (await visitor()).newPage()).open(project.id);
  const { page } = workspace;
  const terminal = await workspace.terminal().prompt();
  await terminal.enter('mkdir -p in && cd in && echo in""side');
  await terminal.sees(/^inside$/m);
  // They never come to an end.
  await page.route('**/files/in/*', () => undefined);
  const host = page.locator('.fsa-terminal').first();
  const over = page.locator('.fsa-terminal-notice', { hasText: 'Uploading a.txt' });
  await dropAll(host, { 'a.txt': 'a', 'b.txt': 'b' });
  await expect(over).toBeVisible();
  await inspect(page, 'terminal-uploads');
  await over.getByRole('button', { name: 'Stop the uploads' }).click();
  await expect(page.locator('.fsa-terminal-notice', { hasText: '2 of 2 were not uploaded: a.txt, b.txt. It was stopped.' })).toBeVisible();
  await expect(over).toHaveCount(0);
  await expect(host.locator('.xterm-helper-textarea')).toBeFocused();

  await dropAll(host, { 'a.txt': 'a', 'b.txt': 'b' });
  await expect(over).toBeVisible();
  await page.getByRole('navigation', { name: 'Project' }).getByRole('link', { name: 'Files' }).click();
  const notices = page.getByRole('status', { name: 'Notices' });
  await expect(notices).toContainText('2 files are being uploaded');
  await notices.getByRole('button', { name: 'Stop', exact: true }).click();
  await expect(notices).toContainText('2 of 2 were not uploaded: a.txt, b.txt. It was stopped.');
  await expect(notices).not.toContainText('are being uploaded');
  expect(await api.output(project.id, 'ls -A in')).toBe('');
});

test('a file pasted into a terminal is uploaded, and its path typed; with text beside it, the text is meant', async ({ api, project, visitor }) => {
  const workspace = await new Workspace(await (await visitor()).newPage()).open(project.id);
  const { page } = workspace;
  const terminal = await workspace.terminal().prompt();
  await terminal.enter('mkdir -p shots && cd shots && echo in""side');
  await terminal.sees(/^inside$/m);
  const field = page.locator('.fsa-terminal .xterm-helper-textarea').first();
  await terminal.type('cat ');
  await paste(field, 'clip.png', 'from the clipboard\n');
  await terminal.sees(/cat \S*\/shots\/clip\.png/);
  await page.keyboard.press('Enter');
  await terminal.sees(/^from the clipboard$/m);
  // As a spreadsheet copies a picture of its cells beside their text.
  await paste(field, 'cells.png', 'never sent', 'echo text-$((40+2))');
  await terminal.sees(/echo text-\$\(\(40\+2\)\)/);
  await page.keyboard.press('Enter');
  await terminal.sees(/^text-42$/m);
  expect(await api.output(project.id, 'ls -A shots')).toBe('clip.png\n');
  expect(await terminal.text()).not.toContain('cells.png');
});

test('a preview is shared by a link that a stranger can open, until its time is over or it is withdrawn', async ({ api, project, server, visitor, allowConsole }) => {
  test.setTimeout(120_000);
  allowConsole(/401 \(Unauthorized\)/);
  const workspace = await new Workspace(await (await visitor()).newPage()).open(project.id);
  const { page } = workspace;
  await page.getByRole('button', { name: 'Share preview' }).click();
  const panel = page.getByRole('dialog', { name: 'Share preview' });
  await panel.getByRole('radio', { name: /Public link/ }).check();
  // Narrow, there is the terminal alone.
  await inspect(page, 'share', [1440]);
  await panel.getByRole('button', { name: 'Set' }).click();
  const url = await panel.getByRole('textbox', { name: 'Public link' }).inputValue();
  const stranger = await (await visitor({ signedIn: false })).newPage();
  await stranger.goto(url);
  await expect(stranger.getByRole('heading', { name: 'Nothing listens on port 3000' })).toBeVisible();
  await inspect(stranger, 'preview-waiting');
  // Its time is over while they look: said by the page itself, which nobody loads again.
  controlPlane(server, `UPDATE preview_shares SET expires_at = now() WHERE project_id = '${project.id}'`);
  await expect(stranger.getByRole('heading', { level: 1 })).toHaveText('This link has expired');
  await expect(stranger.getByText('Ask whoever gave it to you for a new one.')).toBeVisible();
  await inspect(stranger, 'preview-expired', [390]);
  const next = await api.must('PUT', `/api/projects/${project.id}/ports/3000/share`, { body: { audience: 'link' } });
  await stranger.goto(next.url);
  await expect(stranger.getByRole('heading', { level: 1 })).toHaveText('Nothing listens on port 3000');
  // It loads by itself: nobody asks for the page again.
  await serve(api, project, 3000, 'Boats for hire');
  await expect(stranger.getByRole('heading', { name: 'Boats for hire' })).toBeVisible();
  await panel.getByRole('radio', { name: /Private/ }).check();
  await panel.getByRole('button', { name: 'Set' }).click();
  await expect(panel.getByText('Private.', { exact: true })).toBeVisible();
  await until('the link to be over', async () => (await stranger.reload(), await stranger.getByText('This link was withdrawn').isVisible()));
  await inspect(stranger, 'preview-withdrawn');
  expect((await api.must('GET', `/api/projects/${project.id}/ports/3000/share`)).audience).toBe('private');
});
