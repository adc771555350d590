// GitHub, from sign-in to a push: a stand-in has the accounts and the repositories, and git is real on both sides.
import AxeBuilder from '@axe-core/playwright';
import type { Locator, Page } from '@playwright/test';
import { ALONE } from '../support/alone.ts';
import { serve } from '../support/apps.ts';
import { ONE_MACHINE } from '../support/cluster.ts';
import { expect, test } from '../support/fixtures.ts';
import { GitHub } from '../support/github.ts';
import { inspect } from '../support/inspect.ts';
import { goBy, inTerminal, tabTo } from '../support/keyboard.ts';
import { NewProjectPage, ProjectsPage, Workspace, hydrated, shifted } from '../support/pages.ts';
import { until } from '../support/until.ts';
import { controlPlane } from '../support/world.ts';

// Each has a server of its own, with its PostgreSQL.
test.describe.configure({ timeout: 180_000 });

let github: GitHub;
test.beforeEach(async () => void (github = await GitHub.start()));
test.afterEach(async () => await github.stop());

/** To GitHub's page. */
async function begin(page: Page): Promise<void> {
  await page.goto('/sign-in');
  await page.getByRole('button', { name: 'Continue with GitHub' }).click();
  await expect(page.getByRole('heading', { name: `Authorize as ${github.browser.login}` })).toBeVisible();
}

async function signIn(page: Page): Promise<void> {
  await begin(page);
  await page.getByRole('link', { name: 'Authorize' }).click();
  await expect(new ProjectsPage(page).heading).toBeVisible();
}

/** A form that only its repository is missing from. */
async function newProject(page: Page, name: string): Promise<NewProjectPage> {
  const form = await new NewProjectPage(page).open();
  await form.name.fill(name);
  await form.database.uncheck();
  await page.getByLabel(/^Paste a .env/).fill(github.variables);
  return form;
}

async function files(page: Page): Promise<Locator> {
  await page.goto(`${new URL(page.url()).pathname.split('/').slice(0, 3).join('/')}/files`);
  await hydrated(page);
  return page.getByRole('region', { name: 'Repository' });
}

async function accessible(page: Page): Promise<void> {
  for (const colorScheme of ['dark', 'light'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    const { violations } = await new AxeBuilder({ page }).analyze();
    expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`), colorScheme).toEqual([]);
  }
}

test('from a sign-in to a push: picked from the list, cloned, edited, committed', async ({ ownServer, visitor }) => {
  github.serve('octocat/boats', true, { README: 'boats\n' });
  for (let n = 0; n < 40; n++) github.serve(`acme/kayak-${n}`, false);
  const server = await ownServer(github.options('octocat'));
  const page = await (await visitor({ signedIn: false, server })).newPage();
  await signIn(page);

  const form = await newProject(page, 'From GitHub');
  const list = page.getByRole('list', { name: 'Repositories' });
  await expect(page.getByText('41 repositories')).toBeVisible();
  await page.getByRole('searchbox', { name: /octocat sees at GitHub/ }).fill('Boat');
  await expect(page.getByText('1 repository')).toBeVisible();
  await expect(list.getByRole('listitem')).toHaveText(['octocat/boatsprivate']);
  await list.getByRole('button', { name: 'octocat/boats' }).click();
  await expect(page.getByLabel('Address')).toHaveValue(`${github.origin}/octocat/boats`);
  await accessible(page);
  const goOn = github.hold();
  await form.create.click();

  const workspace = new Workspace(page);
  await expect(page.getByRole('heading', { name: 'Repository' })).toBeVisible();
  await expect(workspace.phase).toHaveText(/Starting/);
  await expect(page.locator('fsa-clone')).toContainText('Cloning into');
  await accessible(page);
  goOn();
  const terminal = await workspace.terminal().prompt();
  await expect(workspace.phase).toHaveText(/Running/);
  // Its terminals open where it was cloned to.
  await terminal.enter('echo more >> README && git commit -qam "From the terminal" && git push -q && echo pus""hed');
  await terminal.sees(/^pushed/m);
  expect(github.git('octocat/boats', 'log', '-1', '--format=%an <%ae> %s', 'main')).toBe(
    'octocat <1+octocat@users.noreply.127.0.0.1> From the terminal',
  );
  // Typed in two parts: what remembers what was typed is no place of the token.
  const token = github.tokens[0]!.replace('_', '""_');
  await terminal.enter(`found=$(grep -rlsF ${token} ~ /tmp /etc /var /run; env | grep -F ${token}); echo "token in \${found:-no file and no variable}"`);
  await terminal.sees(/^token in no file and no variable/m);
  await terminal.enter('echo again >> README && touch new && echo edi""ted');
  await terminal.sees(/^edited/m);

  const source = await files(page);
  await expect(source.getByRole('status')).toContainText('main · 2 changes');
  const changes = source.getByRole('list', { name: 'Changes' });
  await expect(changes.getByRole('listitem')).toHaveText(['modifiedREADME', 'addednew']);
  // Looks that find the same change nothing under whoever is there. The second one is asked for when the first is done.
  await changes.focus();
  for (let look = 0; look < 2; look += 1) {
    const asked = page.waitForResponse(/\/repository\/publication$/);
    await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
    await asked;
  }
  await expect(changes).toBeFocused();
  await source.getByRole('button', { name: 'Commit and push' }).click();
  await expect(source.getByRole('alert')).toContainText('A commit needs a message.');
  await source.getByLabel('Message').fill('From the page');
  await accessible(page);
  await source.getByRole('button', { name: 'Commit and push' }).click();
  await expect(source.getByRole('status')).toContainText('main · nothing changed');
  expect(github.git('octocat/boats', 'log', '-1', '--format=%an %s', 'main')).toBe('octocat From the page');

  await page.goto(page.url().replace('/files', '/activity'));
  await expect(page.getByText('Committed “From the page”')).toBeVisible();
});

test('from a sign-in to a push by the keyboard alone', ALONE, async ({ ownServer, visitor }) => {
  github.serve('octocat/boats', true, { README: 'boats\n' });
  for (let n = 0; n < 3; n++) github.serve(`acme/kayak-${n}`, false);
  const server = await ownServer(github.options('octocat'));
  const page = await (await visitor({ signedIn: false, server })).newPage();
  await page.goto('/sign-in');
  await expect(page.getByRole('button', { name: 'Continue with GitHub' })).toBeVisible();
  await tabTo(page, /Continue with GitHub/);
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { name: 'Authorize as octocat' })).toBeVisible();
  await tabTo(page, /Authorize/, 3);
  await page.keyboard.press('Enter');
  await expect(new ProjectsPage(page).heading).toBeVisible();
  await hydrated(page);

  // The form, and the repository out of the list.
  await page.keyboard.press('n');
  await expect(page.getByRole('heading', { level: 1, name: 'New project' })).toBeVisible();
  await expect(page.getByText('4 repositories')).toBeVisible();
  await tabTo(page, /^Project name/);
  await page.keyboard.type('By keys');
  await tabTo(page, /sees at GitHub/, 10);
  await page.keyboard.type('boats');
  await expect(page.getByText('1 repository')).toBeVisible();
  await tabTo(page, /octocat\/boats/, 4);
  await page.keyboard.press('Enter');
  const address = page.getByLabel('Address');
  await expect(address).toHaveValue(`${github.origin}/octocat/boats`);
  await expect(address).toBeFocused();
  await tabTo(page, /^PostgreSQL next to the sandbox/, 20);
  await page.keyboard.press('Space');
  await expect(new NewProjectPage(page).database).not.toBeChecked();
  await tabTo(page, /^Paste a \.env/, 4);
  await page.keyboard.type(github.variables);
  await page.keyboard.press('Control+Enter');

  // A commit in the terminal, and one on the page.
  const workspace = new Workspace(page);
  await expect(workspace.phase).toHaveAttribute('data-phase', 'running', { timeout: 60_000 });
  const terminal = await workspace.terminal().prompt();
  await page.keyboard.press('Alt+1');
  await until('the focus in the terminal', () => inTerminal(page));
  await page.keyboard.type('cd ~/boats && echo more >> README && git commit -qam "In the terminal" && git push -q && echo pus""hed');
  await page.keyboard.press('Enter');
  await terminal.sees(/^pushed/m, 30_000);
  expect(github.git('octocat/boats', 'log', '-1', '--format=%s', 'main')).toBe('In the terminal');
  await page.keyboard.type('echo again >> README && echo edi""ted');
  await page.keyboard.press('Enter');
  await terminal.sees(/^edited/m);
  await page.keyboard.press('Control+Shift+Escape');
  await until('the focus out of the terminal', async () => !(await inTerminal(page)));
  await goBy(page, 'f', /\/files$/);
  const source = page.getByRole('region', { name: 'Repository' });
  await expect(source.getByRole('status')).toContainText('main · 1 change');
  await tabTo(page, /^Message/, 120);
  await page.keyboard.type('On the page');
  await tabTo(page, /Commit and push/, 3);
  await page.keyboard.press('Enter');
  await expect(source.getByRole('status')).toContainText('main · nothing changed', { timeout: 30_000 });
  expect(github.git('octocat/boats', 'log', '-1', '--format=%an %s', 'main')).toBe('octocat On the page');

  // The list says of which repository a project is, and finds it by that.
  const list = await new ProjectsPage(page).open();
  const search = page.getByRole('searchbox', { name: 'Search projects' });
  await search.fill('Octocat/b');
  await expect(list.row('By keys')).toContainText('octocat/boats');
  await search.fill('nobody/boats');
  await expect(page.getByRole('heading', { name: 'No project matches' })).toBeVisible();
});

test('from a sign-in to a push on a phone', async ({ ownServer, browser }) => {
  github.serve('octocat/boats', true, { README: 'boats\n' });
  for (let n = 0; n < 3; n++) github.serve(`acme/kayak-${n}-with-a-name-that-is-longer-than-a-phone-is-wide-by-far`, false);
  const server = await ownServer(github.options('octocat'));
  const context = await browser.newContext({ baseURL: server.origin, viewport: { width: 390, height: 664 }, hasTouch: true, isMobile: true });
  const page = await context.newPage();
  const fits = async (what: string) =>
    expect.soft(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth), what).toBeLessThanOrEqual(0);
  await page.goto('/sign-in');
  await fits('sign-in');
  await page.getByRole('button', { name: 'Continue with GitHub' }).tap();
  await page.getByRole('link', { name: 'Authorize' }).tap();
  await expect(new ProjectsPage(page).heading).toBeVisible();

  const form = await newProject(page, 'In a pocket');
  await expect(page.getByText('4 repositories')).toBeVisible();
  await fits('the list of repositories');
  await page.getByRole('searchbox', { name: /octocat sees at GitHub/ }).fill('boats');
  await page.getByRole('list', { name: 'Repositories' }).getByRole('button', { name: 'octocat/boats' }).tap();
  await expect(page.getByLabel('Address')).toHaveValue(`${github.origin}/octocat/boats`);
  await form.create.tap();

  const workspace = new Workspace(page);
  await expect(workspace.phase).toHaveAttribute('data-phase', 'running', { timeout: 60_000 });
  const terminal = await workspace.terminal().prompt();
  await fits('workspace');
  await page.locator('#terminal-main').tap();
  await expect(page.locator('#terminal-main .xterm-helper-textarea')).toBeFocused();
  await page.keyboard.type('echo more >> ~/boats/README && echo edi""ted');
  await page.keyboard.press('Enter');
  await terminal.sees(/^edited/m);
  await page.getByRole('navigation', { name: 'Project' }).getByRole('link', { name: 'Files' }).tap();
  const source = page.getByRole('region', { name: 'Repository' });
  await expect(source.getByRole('status')).toContainText('main · 1 change');
  await source.getByLabel('Message').fill('From a pocket');
  await fits('files with a change');
  await inspect(page, 'phone-commit', [390]);
  await source.getByRole('button', { name: 'Commit and push' }).tap();
  await expect(source.getByRole('status')).toContainText('main · nothing changed', { timeout: 30_000 });
  expect(github.git('octocat/boats', 'log', '-1', '--format=%an %s', 'main')).toBe('octocat From a pocket');
  await context.close();
});

// Of pages alone, as all here that have the tag: no sandbox is made.
test('nothing moves where GitHub answers late, with an account and without one', { ...ONE_MACHINE, ...ALONE }, async ({ ownServer, visitor }) => {
  for (let n = 0; n < 40; n++) github.serve(`acme/kayak-${n}`, false);
  const server = await ownServer(github.options('octocat'));
  const byLink = await (await visitor({ server })).newPage();
  const byGitHub = await (await visitor({ signedIn: false, server })).newPage();
  await signIn(byGitHub);
  for (const [page, state, offer] of [
    [byLink, 'Not connected', 'Connect GitHub to choose one of your own repositories.'],
    [byGitHub, 'Connected as octocat', '40 repositories'],
  ] as const) {
    // Later than the page is painted, as GitHub is.
    await page.route('**/api/github', async (route) => {
      await new Promise((resolve) => setTimeout(resolve, 500));
      await route.continue();
    });
    await page.goto('/settings');
    await hydrated(page);
    await expect(page.getByRole('region', { name: 'GitHub' })).toContainText(state);
    await expect(page.locator('.sessions > li').first()).toBeVisible();
    expect.soft(await shifted(page), `what moved in the settings: ${state}`).toBeLessThan(0.005);
    await accessible(page);
    await page.goto('/projects/new');
    await hydrated(page);
    await expect(page.locator('fsa-repository')).toContainText(offer);
    expect.soft(await shifted(page), `what moved on a new project: ${state}`).toBeLessThan(0.005);
    await accessible(page);
  }
});

test('GitHub is connected from the form of a new project, which is found as it was left', ONE_MACHINE, async ({ ownServer, visitor, allowConsole }) => {
  allowConsole(/ERR_FAILED/);
  github.serve('octocat/boats', true, { README: 'boats\n' });
  const server = await ownServer(github.options());
  const page = await (await visitor({ server })).newPage();
  const form = await newProject(page, 'Half filled in');
  const small = page.getByRole('radio', { name: /^Small/ });
  const [address, branch, depth] = ['Address', 'Branch', 'Commits'].map((label) => page.getByLabel(label));
  const summary = page.getByLabel('Summary');
  const code = summary.locator('dd').last();
  await small.check();
  await expect(summary).not.toContainText('Code');
  await address!.fill('https://github.com/octocat/other.git');
  await expect(summary).toContainText('Code');
  await expect(code).toHaveText('octocat/other');
  await branch!.fill('feature/x');
  await expect(code).toHaveText('octocat/other · feature/x');
  await depth!.fill('3');
  await expect(page.locator('fsa-repository')).toContainText('What you have filled in here stays, but for a pasted .env');

  // Where that fails, nothing waits in the browser.
  const waiting = () => page.evaluate(() => sessionStorage.getItem('fsa.new-project'));
  await page.route('**/api/github/connect', (route) => route.abort(), { times: 1 });
  await page.getByRole('button', { name: 'Connect GitHub' }).click();
  await expect(page.locator('fsa-repository')).toContainText('The server did not answer.');
  expect(await waiting()).toBeNull();

  // What waits in the browser has no variable in it.
  let kept = '';
  await page.route('**/api/github/connect', async (route) => {
    kept = await page.evaluate(() => JSON.stringify({ ...sessionStorage }));
    await route.continue();
  });
  await page.getByRole('button', { name: 'Connect GitHub' }).click();
  await expect(page.getByRole('heading', { name: 'Authorize as octocat' })).toBeVisible();
  expect(kept).toContain('Half filled in');
  for (const line of github.variables.split('\n').filter((line) => line !== '')) expect(kept).not.toContain(line);
  await page.getByRole('link', { name: 'Authorize' }).click();
  await expect(page).toHaveURL(`${server.origin}/projects/new`);
  await hydrated(page);
  await expect(form.name).toHaveValue('Half filled in');
  await expect(page.locator('#name-hint')).toContainText('half-filled-in');
  await expect(small).toBeChecked();
  await expect(form.database).not.toBeChecked();
  await expect(address!).toHaveValue('https://github.com/octocat/other.git');
  await expect(branch!).toHaveValue('feature/x');
  await expect(depth!).toHaveValue('3');
  await expect(page.getByLabel(/^Paste a .env/)).toHaveValue('');
  await expect(code).toHaveText('octocat/other · feature/x');
  await accessible(page);
  expect(await waiting(), 'once').toBeNull();

  // And it is what the project is made of.
  await page.getByLabel(/^Paste a .env/).fill(github.variables);
  await page.getByRole('button', { name: 'octocat/boats' }).click();
  await expect(code).toHaveText('octocat/boats');
  await depth!.fill('');
  await form.create.click();
  await expect(new Workspace(page).phase).toHaveAttribute('data-phase', 'running', { timeout: 60_000 });
  const [project] = await (await server.api()).projects();
  expect(project).toMatchObject({ name: 'Half filled in', database: false, preset: 'small' });
  expect(await (await server.api()).output(project!.id, 'cat boats/README')).toBe('boats\n');
});

test('a push that is rejected says the way on', async ({ ownServer, visitor, allowConsole }) => {
  allowConsole(/409 \(Conflict\)/);
  const url = github.serve('octocat/boats', false);
  const server = await ownServer(github.options('octocat'));
  const page = await (await visitor({ signedIn: false, server })).newPage();
  await signIn(page);
  const form = await newProject(page, 'Rejected');
  await page.getByLabel('Address').fill(url);
  await form.create.click();
  const terminal = await new Workspace(page).terminal().prompt();
  await terminal.enter('cd ~/boats && echo mine > mine && echo do""ne');
  await terminal.sees(/^done/m);
  const theirs = github.git('octocat/boats', '-c', 'user.name=x', '-c', 'user.email=x@x', 'commit-tree', '-p', 'main', '-m', 'theirs', 'main^{tree}');
  github.git('octocat/boats', 'update-ref', 'refs/heads/main', theirs);
  const source = await files(page);
  await source.getByLabel('Message').fill('Mine');
  await source.getByRole('button', { name: 'Commit and push' }).click();
  await expect(source.getByRole('alert')).toContainText('git pull --rebase');
  await expect(source.getByRole('status')).toContainText('1 commit to push');
  await accessible(page);
  await page.goto(page.url().replace('/files', ''));
  await (await new Workspace(page).terminal().live()).enter('git pull -q --rebase && echo pul""led');
  await terminal.sees(/^pulled/m);
  await (await files(page)).getByRole('button', { name: 'Push', exact: true }).click();
  await until('the push', () => github.git('octocat/boats', 'log', '-1', '--format=%s', 'main') === 'Mine');
});

test('a new project becomes a new private repository', async ({ ownServer, visitor }) => {
  github.serve('acme/taken', false);
  const server = await ownServer(github.options('octocat'));
  const page = await (await visitor({ signedIn: false, server })).newPage();
  await signIn(page);
  await (await newProject(page, 'Fresh')).create.click();
  const terminal = await new Workspace(page).terminal().prompt();
  await terminal.enter('mkdir -p "my app/node_modules/x" && echo hi > "my app/index.html" && touch "my app/node_modules/x/y" && echo do""ne');
  await terminal.sees(/^done/m);

  const list = await new ProjectsPage(await page.context().newPage()).open();
  await expect(list.row('Fresh')).not.toContainText('/');
  const source = await files(page);
  await source.getByRole('button', { name: 'Publish to GitHub…' }).click();
  const dialog = page.getByRole('dialog', { name: 'Publish to GitHub' });
  await expect(dialog.getByLabel('Repository name')).toHaveValue('my-app');
  await expect(dialog.getByLabel('Visibility')).toHaveValue('private');
  await inspect(page, 'publish-dialog');
  const owner = dialog.getByLabel('Owner');
  await expect(owner.getByRole('option')).toHaveText(['octocat', 'acme', 'Another organization…']);
  await owner.selectOption({ label: 'Another organization…' });
  await dialog.getByRole('button', { name: 'Publish' }).click();
  await expect(dialog.getByRole('alert')).toHaveText('Say which organization.');
  await expect(dialog.getByLabel('Organization')).toBeFocused();
  await owner.selectOption({ label: 'acme' });
  await expect(dialog.getByLabel('Organization')).toBeHidden();
  await dialog.getByLabel('Repository name').fill('taken');
  await dialog.getByLabel('Repository name').press('Enter');
  await expect(source.getByRole('alert')).toContainText('There is a repository acme/taken at GitHub already.');
  await source.getByRole('button', { name: 'Try again…' }).click();
  await expect(owner).toHaveValue('acme');
  await owner.selectOption({ label: 'octocat' });
  await dialog.getByLabel('Repository name').fill('fresh');
  await dialog.getByRole('button', { name: 'Publish' }).click();
  await expect(source.getByRole('status')).toContainText(`${github.origin}/octocat/fresh · main · nothing changed`);
  expect(github.isPrivate('octocat/fresh')).toBe(true);
  await expect(list.row('Fresh'), 'in a list that was open all the while').toContainText('octocat/fresh');
  expect(github.git('octocat/fresh', 'ls-tree', '-r', '--name-only', 'main')).toBe('.gitignore\nindex.html');
  await accessible(page);
  await page.setViewportSize({ width: 390, height: 800 });
  expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
});

test('who may not sign in is told why, and what to do', ONE_MACHINE, async ({ ownServer, visitor, allowConsole }) => {
  allowConsole(/403 \(Forbidden\)/, /502 \(Bad Gateway\)/);
  const server = await ownServer(github.options('octocat'));
  server.allow(/may not sign in/);
  const page = await (await visitor({ signedIn: false, server })).newPage();
  await begin(page);
  await page.getByRole('link', { name: 'Cancel' }).click();
  await expect(page.getByText('At GitHub, access was not granted.')).toBeVisible();
  github.browser = { id: 2, login: 'mallory' };
  await page.getByRole('link', { name: 'Back to sign-in' }).click();
  await begin(page);
  await page.getByRole('link', { name: 'Authorize' }).click();
  await expect(page.getByRole('heading', { name: 'You were not signed in' })).toBeVisible();
  await expect(page.getByText('The GitHub account mallory may not sign in')).toBeVisible();
  await inspect(page, 'sign-in-not-allowed');
  await page.goto('/');
  await expect(page).toHaveURL(/\/sign-in/);

  // GitHub is gone between its page and ours.
  github.browser = { id: 1, login: 'octocat' };
  await begin(page);
  await github.stop();
  await page.getByRole('link', { name: 'Authorize' }).click();
  await expect(page.getByRole('heading', { name: 'You were not signed in' })).toBeVisible();
  await expect(page.getByText('Try again in a minute')).toBeVisible();
  await inspect(page, 'github-away', [390]);
});

test('a clone that failed has a page with the cause, and goes on', async ({ ownServer, visitor }) => {
  const server = await ownServer(github.options('octocat'));
  const page = await (await visitor({ signedIn: false, server })).newPage();
  await signIn(page);
  const form = await newProject(page, 'Lost');
  await page.getByLabel('Address').fill(`${github.origin}/octocat/lost`);
  await form.create.click();
  await expect(page.getByRole('heading', { name: 'The sandbox did not start' })).toBeVisible();
  await expect(page.getByText(/There is no repository at .*\/octocat\/lost/).first()).toBeVisible();
  await inspect(page, 'clone-failed');
  github.serve('octocat/lost', true);
  await page.locator('fsa-clone').getByRole('button', { name: 'Try again' }).click();
  const terminal = await new Workspace(page).terminal().prompt();
  // Its terminals open in the clone.
  await terminal.enter('cat README');
  await terminal.sees(/^main/m);
});

test('an account is connected in the settings, revoked at GitHub, connected again, disconnected', ONE_MACHINE, async ({ ownServer, visitor }) => {
  const server = await ownServer(github.options());
  const page = await (await visitor({ server })).newPage();
  await page.goto('/settings');
  await hydrated(page);
  const panel = page.getByRole('region', { name: 'GitHub' });
  const authorize = async () => {
    await expect(page.getByRole('heading', { name: 'Authorize as octocat' })).toBeVisible();
    await page.getByRole('link', { name: 'Authorize' }).click();
    await expect(page).toHaveURL(`${server.origin}/settings#github`);
    await expect(panel.getByRole('heading', { name: 'Connected as octocat' })).toBeVisible();
    await expect(panel).toContainText('GitHub takes it.');
    await hydrated(page);
  };
  await expect(panel.getByRole('heading', { name: 'Not connected' })).toBeVisible();
  await page.getByRole('navigation', { name: 'Settings', exact: true }).getByRole('link', { name: 'GitHub' }).click();
  await expect(page).toHaveURL(`${server.origin}/settings#github`);
  await panel.getByRole('button', { name: 'Connect GitHub' }).click();
  await authorize();
  await expect(panel).toContainText('user:email');
  await inspect(page, 'settings-github');

  github.revoke('octocat');
  await page.reload();
  await expect(panel.getByRole('heading', { name: 'No longer connected as octocat' })).toBeVisible();
  await expect(panel).toContainText('it was revoked there, or has ended');
  await hydrated(page);
  await accessible(page);
  await panel.getByRole('button', { name: 'Connect again' }).click();
  await authorize();

  const disconnect = panel.getByRole('button', { name: 'Disconnect…' });
  const question = page.getByRole('alertdialog', { name: 'Disconnect octocat?' });
  await disconnect.click();
  await expect(question.getByRole('button', { name: 'Stay connected' })).toBeFocused();
  await expect(question).toContainText('Projects stay.');
  await accessible(page);
  await page.keyboard.press('Escape');
  await expect(question).toHaveCount(0);
  await expect(disconnect).toBeFocused();
  expect(github.granted).toEqual(['octocat']);
  await disconnect.click();
  await question.getByRole('button', { name: 'Disconnect', exact: true }).click();
  await expect(panel.getByRole('heading', { name: 'Not connected' })).toBeVisible();
  await expect(panel.getByRole('button', { name: 'Connect GitHub' })).toBeFocused();
  expect(github.granted, 'ended at GitHub too').toEqual([]);
});

test('a preview shared with who can sign in opens to a second user and to no stranger, until it is private again', async ({ ownServer, visitor, allowConsole }) => {
  allowConsole(/status of 40[14]|ERR_FAILED/);
  const server = await ownServer(github.accounts('octocat'));
  const api = await server.api();
  const project = await api.running('Harbour', { database: false });
  await serve(api, project, 3000, 'Boats for hire');
  const owner = await new Workspace(await (await visitor({ server })).newPage()).open(project.id);
  const boats = (page: Pick<Page, 'getByRole'>) => page.getByRole('heading', { name: 'Boats for hire' });
  await expect(boats(owner.preview)).toBeVisible();
  const address = (await api.sandbox(project.id)).urls.application!;
  const way = `${server.origin}/open/${project.sandbox.name}/3000`;
  const friend = await (await visitor({ signedIn: false, server })).newPage();
  await signIn(friend);
  const stranger = await (await visitor({ signedIn: false, server })).newPage();
  const closed = (page: Page) => page.getByRole('heading', { name: 'Sign in to see this preview' });
  const through = (page: Page) => page.getByRole('link', { name: 'Open it through FullStack Agent' });
  const statusOf = async (page: Page, url: string) => (await page.request.get(url)).status();

  // At first it is its owner's alone, and nobody else is told that it exists.
  await friend.goto(address);
  await expect(closed(friend)).toBeVisible();
  expect(await statusOf(friend, way)).toBe(404);

  const { page } = owner;
  const opener = page.getByRole('button', { name: /^(Share preview|Shared with users|Shared by link until .*)$/ });
  const panel = page.getByRole('dialog', { name: 'Share preview' });
  const set = panel.getByRole('button', { name: 'Set', exact: true });
  await opener.click();
  await expect(panel.getByRole('radio', { name: /^Private/ })).toBeChecked();
  await panel.getByRole('radio', { name: /^Signed-in users/ }).check();
  await set.click();
  await expect(panel.getByText('Open to everybody who is signed in.')).toBeVisible();
  await expect(panel.getByRole('textbox', { name: 'Public link' }), 'no link is needed').toHaveCount(0);
  await page.keyboard.press('Escape');
  await expect(panel).toBeHidden();
  await expect(opener).toBeFocused();
  // From then on it is seen that it is, also by whoever comes to the page later.
  const marked = async () => {
    await expect(opener).toHaveAccessibleName('Shared with users');
    await expect(opener).toHaveText('Shared');
    await owner.previewPane.getByRole('button', { name: /choose another/ }).click();
    await expect(page.getByRole('menuitemradio', { name: /^3000.*shared$/ })).toBeVisible();
    await expect(page.getByRole('menuitemradio', { name: /^5000/ })).not.toContainText('shared');
    await page.keyboard.press('Escape');
  };
  await marked();
  await page.reload();
  await hydrated(page);
  await marked();

  // The second user gets there by the address alone, and to nothing else of the project.
  await friend.goto(address);
  await through(friend).click();
  await expect(boats(friend)).toBeVisible();
  expect(new URL(friend.url()).host).toBe(new URL(address).host);
  expect(await (await friend.request.get(`${server.origin}/api/projects`)).json()).toEqual([]);
  expect(await statusOf(friend, `${server.origin}/api/projects/${project.id}`)).toBe(404);
  expect(await statusOf(friend, way.replace(/3000$/, '5000')), 'one port').toBe(404);

  await stranger.goto(address);
  await through(stranger).click();
  await expect(stranger.getByRole('heading', { name: 'Sign in to open this preview' })).toBeVisible();
  await stranger.goto(address);
  await expect(closed(stranger)).toBeVisible();

  // Shown as it is when the panel is opened again, and taken back.
  await opener.click();
  await expect(panel.getByRole('radio', { name: /^Signed-in users/ })).toBeChecked();
  await expect(panel.getByRole('status')).toHaveText('Open to everybody who is signed in.');
  await panel.getByRole('radio', { name: /^Private/ }).check();
  await set.click();
  await expect(panel.getByText('Private.', { exact: true })).toBeVisible();
  await expect(opener).toHaveAccessibleName('Share preview');
  await until('the second user to be out', async () => (await friend.reload(), await closed(friend).isVisible()));
  expect(await statusOf(friend, way), 'and there is no way in').toBe(404);
  await page.reload();
  await expect(boats(owner.preview), 'its owner goes on').toBeVisible();

  // A link, too; and the project's settings list what is shared, and end it.
  const share = `/api/projects/${project.id}/ports/3000/share`;
  await api.must('PUT', share, { body: { audience: 'link', expiresInHours: 1 } });
  await page.reload();
  await expect(opener).toHaveAccessibleName(/^Shared by link until /);
  // Whoever stays on the page sees it end.
  controlPlane(server, `UPDATE preview_shares SET expires_at = now() + interval '10 seconds' WHERE project_id = '${project.id}'`);
  await page.reload();
  await expect(opener).toHaveAccessibleName(/^Shared by link until /);
  await expect(opener).toHaveAccessibleName('Share preview');
  await api.must('PUT', share, { body: { audience: 'link', expiresInHours: 1 } });
  // From the list, within the app.
  await new ProjectsPage(page).open();
  await page.getByRole('button', { name: `More actions for ${project.name}`, exact: true }).click();
  await page.getByRole('menuitem', { name: 'Settings' }).click();
  await expect(page).toHaveURL(new RegExp(`/projects/${project.id}/settings$`));
  const shares = page.getByRole('region', { name: 'Shares' });
  await expect(shares.getByRole('listitem')).toContainText([/Port 3000.*Shared by link until /]);
  await inspect(page, 'project-shares');
  const end = shares.getByRole('button', { name: 'End the share of port 3000' });
  await page.route('**/ports/3000/share', (route) => route.abort(), { times: 1 });
  await end.click();
  await expect(shares.getByRole('status')).toContainText('The server did not answer.');
  await expect(end, 'to try it again').toBeFocused();
  await end.click();
  await expect(shares.getByRole('status')).toHaveText('Port 3000 is private.');
  await expect(shares.getByRole('status')).toBeFocused();
  await expect(shares.getByRole('listitem')).toContainText(['No port is shared.']);
  expect(await api.must('GET', share)).toEqual({ audience: 'private' });
});
