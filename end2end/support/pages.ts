// The pages as a user names what is on them. Everything that a test needs to know of the markup is here.
import { type FrameLocator, type Locator, type Page, expect } from '@playwright/test';
import { until } from './until.ts';

/** A loaded page whose WebAssembly has taken over. */
export async function hydrated(page: Page): Promise<void> {
  await page.waitForFunction(() => document.documentElement.dataset['ready'] !== undefined);
}

/** How much has moved on the page by itself since it was opened: the sum that browsers call cumulative layout shift. */
export async function shifted(page: Page): Promise<number> {
  return await page.evaluate(
    () =>
      new Promise<number>((resolve) => {
        let sum = 0;
        new PerformanceObserver((list) => {
          for (const entry of list.getEntries() as any[]) if (!entry.hadRecentInput) sum += entry.value;
        }).observe({ type: 'layout-shift', buffered: true });
        // What was noted before comes in a task of its own, after a frame.
        requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => resolve(sum), 100)));
      }),
  );
}

/** How a sign-in went wrong, as the page says it. */
export type SignInState = 'used' | 'expired' | 'forged' | 'many' | 'away';

export class SignInPage {
  readonly page: Page;
  constructor(page: Page) {
    this.page = page;
  }

  /** Waits for the page to say so. */
  async says(state: SignInState): Promise<void> {
    await expect(this.page.locator('html')).toHaveAttribute('data-sign-in', state);
    await expect(this.problem).toBeVisible();
  }

  get heading(): Locator {
    return this.page.getByRole('heading', { level: 1, name: 'Sign in to FullStack Agent' });
  }

  get problem(): Locator {
    return this.page.getByRole('alert').filter({ visible: true }).first();
  }
}

export class ProjectsPage {
  readonly page: Page;
  constructor(page: Page) {
    this.page = page;
  }

  async open(): Promise<this> {
    await this.page.goto('/');
    await expect(this.heading).toBeVisible();
    await hydrated(this.page);
    return this;
  }

  get heading(): Locator {
    return this.page.getByRole('heading', { level: 1, name: 'Projects' });
  }

  get newProject(): Locator {
    return this.page.getByRole('link', { name: 'New project' }).first();
  }

  row(name: string): Locator {
    return this.page.getByRole('listitem').filter({ has: this.page.getByRole('link', { name, exact: true }) });
  }
}

export class NewProjectPage {
  readonly page: Page;
  constructor(page: Page) {
    this.page = page;
  }

  async open(): Promise<this> {
    await this.page.goto('/projects/new');
    await expect(this.page.getByRole('heading', { level: 1, name: 'New project' })).toBeVisible();
    await hydrated(this.page);
    return this;
  }

  get name(): Locator {
    return this.page.getByLabel('Project name');
  }

  get database(): Locator {
    return this.page.getByRole('switch', { name: /PostgreSQL/ });
  }

  get create(): Locator {
    return this.page.getByRole('button', { name: /Create project/ });
  }
}

/** A project's page with terminal and preview. */
export class Workspace {
  readonly page: Page;
  constructor(page: Page) {
    this.page = page;
  }

  async open(projectId: string): Promise<this> {
    await this.page.goto(`/projects/${projectId}`);
    await hydrated(this.page);
    return this;
  }

  get phase(): Locator {
    return this.page.locator('header .phase-pill').first();
  }

  /** The actions of the sandbox: Stop, Restart, … */
  async act(verb: 'Start' | 'Stop' | 'Restart' | 'Terminate'): Promise<void> {
    await this.page.getByRole('button', { name: 'Sandbox actions' }).click();
    await this.page.getByRole('menuitem', { name: new RegExp(`^${verb}`) }).click();
    if (verb === 'Terminate') await this.page.getByRole('alertdialog').getByRole('button', { name: 'Terminate the sandbox' }).click();
  }

  /** The dialog that asks for the name. */
  async openDelete(): Promise<void> {
    await this.page.getByRole('button', { name: 'Sandbox actions' }).click();
    await this.page.getByRole('menuitem', { name: /^Delete/ }).click();
  }

  terminal(session = 'main'): BrowserTerminal {
    return new BrowserTerminal(this.page, session);
  }

  get preview(): FrameLocator {
    return this.page.frameLocator('iframe.preview-frame');
  }

  get previewPane(): Locator {
    return this.page.getByRole('region', { name: 'Preview' });
  }
}

/** A terminal in the page, read through the handle that its module leaves for tests. */
export class BrowserTerminal {
  readonly page: Page;
  readonly session: string;
  constructor(page: Page, session: string) {
    this.page = page;
    this.session = session;
  }

  /** The whole buffer, wrapped lines joined. */
  async text(): Promise<string> {
    return await this.page.evaluate(async (session) => {
      const terminal = (window as any).__terminals?.[session];
      if (!terminal) return '';
      // Under a flood without end it never settles: then what is there after half a second is read.
      await Promise.race([terminal.settled(), new Promise((resolve) => setTimeout(resolve, 500))]);
      return terminal.text() as string;
    }, this.session);
  }

  async state(): Promise<string | undefined> {
    return await this.page.evaluate((session) => (window as any).__terminals?.[session]?.state, this.session);
  }

  async live(deadlineMs = 30_000): Promise<this> {
    await until(`terminal ${this.session} of the page to be live`, async () => (await this.state()) === 'live', deadlineMs);
    return this;
  }

  async prompt(): Promise<this> {
    await this.live();
    await until('a prompt in the page', async () => /[$#>%]\s*$/.test((await this.text()).trimEnd() + ' ') || undefined, 30_000);
    return this;
  }

  async focus(): Promise<void> {
    await this.page.evaluate((session) => (window as any).__terminals[session].focus(), this.session);
  }

  /** Types by the keyboard, key by key. */
  async type(text: string): Promise<void> {
    await this.focus();
    await this.page.keyboard.type(text);
  }

  async enter(line: string): Promise<void> {
    await this.type(line);
    await this.page.keyboard.press('Enter');
  }

  async sees(pattern: RegExp, deadlineMs = 15_000): Promise<RegExpExecArray> {
    let last = '';
    return await until(
      `${pattern} in the page's terminal ${this.session}`,
      async () => {
        last = await this.text();
        return pattern.exec(last) ?? undefined;
      },
      deadlineMs,
    ).catch((error: Error) => {
      throw new Error(`${error.message}\nit shows:\n${last.slice(-2500)}`);
    });
  }
}
