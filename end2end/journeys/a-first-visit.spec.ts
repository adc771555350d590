// A developer's first minutes: the printed link, the empty list, a project, five stages, a shell.
import { expect, test } from '../support/fixtures.ts';
import { NewProjectPage, ProjectsPage, SignInPage, type SignInState, Workspace, hydrated } from '../support/pages.ts';
import { controlPlane } from '../support/world.ts';
import { STAGES } from '../support/api.ts';
import { until } from '../support/until.ts';

const TITLES = ['Database Creation', 'Container Provisioning', 'Network Configuration', 'Terminal Initialization', 'Environment Ready'];

test('from the printed link to six times seven', async ({ ownServer, visitor }) => {
  const server = await ownServer();
  const context = await visitor({ signedIn: false, server });
  const page = await context.newPage();
  await page.goto('/');
  await expect(new SignInPage(page).heading, 'a signed-out visit ends at the sign-in').toBeVisible();

  const link = await server.signInLink();
  expect(link).toMatch(/^http:\/\/localhost:\d+\/sign-in#\S+$/);
  await page.goto(link);
  const projects = new ProjectsPage(page);
  await expect(projects.heading).toBeVisible();
  await hydrated(page);
  await expect(page.getByText('Nothing here yet').first()).toBeVisible();

  await projects.newProject.click();
  const form = new NewProjectPage(page);
  await expect(form.name).toBeVisible();
  await hydrated(page);
  // Everything that the page ever shows of the stages, however short.
  await page.evaluate(() => {
    const seen = new Set<string>();
    (window as any).__stages = seen;
    const look = () => {
      for (const stage of document.querySelectorAll('.stage')) {
        seen.add(`${(stage as HTMLElement).dataset['state']} ${stage.querySelector('.stage-name')?.textContent}`);
      }
    };
    new MutationObserver(look).observe(document.documentElement, { subtree: true, childList: true, attributes: true, characterData: true });
  });
  await form.name.fill('Tidewater API');
  await expect(form.database).toBeChecked();
  await form.create.click();

  const workspace = new Workspace(page);
  await expect(workspace.phase).toHaveAttribute('data-phase', 'running', { timeout: 60_000 });
  const seen = await page.evaluate(() => [...((window as any).__stages as Set<string>)]);
  for (const title of TITLES) {
    expect(seen.some((line) => line.includes(title)), `the page showed the stage ${title}; it showed ${JSON.stringify(seen)}`).toBe(true);
  }

  const terminal = await workspace.terminal().live();
  await terminal.prompt();
  await terminal.enter("psql -c 'select 6*7'");
  await terminal.sees(/^\s*42\s*$/m);
  await expect(page).toHaveTitle(/Tidewater API/);

  const api = await server.api();
  const [project] = await api.projects();
  expect(project!.slug).toBe('tidewater-api');
  expect(project!.sandbox.stages.map(({ stage }) => stage)).toEqual(STAGES);
  for (const stage of project!.sandbox.stages) {
    expect(stage.state, stage.stage).toBe('done');
    expect(stage.startedAt, stage.stage).not.toBeNull();
    expect(Date.parse(stage.endedAt!), stage.stage).toBeGreaterThanOrEqual(Date.parse(stage.startedAt!));
    expect(Date.parse(stage.deadlineAt!), stage.stage).toBeGreaterThan(Date.parse(stage.startedAt!));
  }
});

test('a project without a database skips that stage and sets no DATABASE_URL', async ({ api }) => {
  const project = await api.running('No rows here', { database: false });
  try {
    const sandbox = await api.sandbox(project.id);
    expect(sandbox.stages[0]).toMatchObject({ stage: 'database-creation', state: 'skipped' });
    expect(await api.output(project.id, 'echo "[${DATABASE_URL-unset}]"')).toBe('[unset]\n');
  } finally {
    await api.remove(project.id);
  }
});

test.describe('a link that does not sign in', () => {
  const tryLink = async (page: import('@playwright/test').Page, link: string, says: SignInState) => {
    await page.goto(link);
    await new SignInPage(page).says(says);
    await expect(page, 'the code is out of the address bar').not.toHaveURL(/#/);
    // What is shown is not only a picture: there is no session.
    expect((await page.request.get('/api/projects')).status()).toBe(401);
    return (await new SignInPage(page).problem.textContent()) ?? '';
  };
  test.beforeEach(({ allowConsole, server }) => {
    allowConsole(/status of 4\d\d/);
    server.allow(/a sign-in code that was never made/);
  });

  test('a used link says that it was used', async ({ server, visitor }) => {
    const link = await server.newSignInLink();
    const first = await (await visitor({ signedIn: false })).newPage();
    await first.goto(link);
    await expect(new ProjectsPage(first).heading).toBeVisible();
    const second = await (await visitor({ signedIn: false })).newPage();
    expect(await tryLink(second, link, 'used')).toMatch(/used/i);
    const another = second.getByRole('alert').locator('code').filter({ visible: true, hasText: 'sign-in-link' });
    await expect(another, 'it says how to get another').toBeVisible();
    const { origin } = new URL(link);
    expect(await server.shell((await another.textContent())!), 'and that is how').toMatch(new RegExp(`^${origin}/sign-in#\\S+\\n$`));
    // The first one's session is unharmed.
    expect((await first.request.get('/api/projects')).status()).toBe(200);
  });

  test('a forged link is refused and a good one still works', async ({ server, visitor }) => {
    const link = await server.newSignInLink();
    const forged = link.replace(/.{6}$/, (tail) => [...tail].reverse().join('') + 'x');
    const page = await (await visitor({ signedIn: false })).newPage();
    expect(await tryLink(page, forged, 'forged')).not.toBe('');
    await page.goto('about:blank');
    await page.goto(link);
    await expect(new ProjectsPage(page).heading).toBeVisible();
  });

  test('an expired link says that it expired', async ({ server, visitor }) => {
    const link = await server.newSignInLink();
    controlPlane(server, "UPDATE sign_in_codes SET expires_at = now() - interval '1 second' WHERE created_at = (SELECT max(created_at) FROM sign_in_codes)");
    const page = await (await visitor({ signedIn: false })).newPage();
    expect(await tryLink(page, link, 'expired')).toMatch(/expired/i);
  });
});

test('sign-out ends every page, stream and terminal of that session', async ({ ownServer, visitor, allowConsole }) => {
  allowConsole(/status of 401/, /WebSocket/, /ERR_/);
  const server = await ownServer();
  const api = await server.api();
  const project = await api.running('Leaving');
  const context = await visitor({ server });
  const workspace = await new Workspace(await context.newPage()).open(project.id);
  await workspace.terminal().live();
  const other = await context.newPage();
  await new ProjectsPage(other).open();
  await other.getByRole('button', { name: /Account/ }).click();
  await other.getByRole('menuitem', { name: 'Sign out' }).click();
  await expect(new SignInPage(other).heading).toBeVisible();
  await until('the terminal of the other tab to end', async () => (await workspace.terminal().state().catch(() => 'gone')) !== 'live');
  expect((await context.request.get(`${server.origin}/api/projects`)).status()).toBe(401);
});
