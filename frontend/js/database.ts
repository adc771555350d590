// `<fsa-database src="/api/projects/ID/database">`: how a project's PostgreSQL is reached and how it is. What is asked again and
// again is without the password: it comes when somebody wants to see or copy it, which the activity tells, and can be reset. The
// server draws what is seen first in the same way (server/src/http/first/database.rs).

import { ask, Refused, words } from './api.ts';
import { ask as question, asks, button, icon, make, prose, tell } from './dom.ts';
import { mayEnd } from './ending.ts';
import { first } from './first.ts';
import { copy } from './insecure.ts';
import { bytes } from './size.ts';

interface View {
  /** With dots in the place of the password, unless it was asked for. */
  psql: string;
  host: string;
  port: number;
  user: string;
  database: string;
  ready: boolean;
  restartPending: boolean;
  figures: { sizeBytes: number; connections: number; mostConnections: number | null; version: string } | null;
}

/** While the page is seen, what the server says is asked again. */
const AGAIN_MS = 5_000;

export class Database extends HTMLElement {
  #view: View | undefined;
  #shown = '';
  /** The address with the password, while it is shown. */
  #secret: string | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  readonly #say = make('p', { class: 'field-message', role: 'status' });

  connectedCallback(): void {
    const view = first<View | null>(this);
    if (view) {
      this.#show(view);
    } else if (view === null) {
      this.#none();
      return;
    } else {
      this.replaceChildren(make('div', { class: 'panel panel-body loading' }, make('span', { class: 'skeleton' })));
    }
    if (!view?.figures) void this.#load();
    this.#timer = setInterval(() => document.visibilityState === 'visible' && void this.#load(), AGAIN_MS);
  }

  disconnectedCallback(): void {
    clearInterval(this.#timer);
  }

  async #load(): Promise<void> {
    try {
      this.#show(await ask<View>('GET', this.getAttribute('src') ?? ''));
    } catch (error) {
      if (error instanceof Refused && error.code === 'no-database') this.#none();
      else if (!this.#view) this.#failed(words(error));
    }
  }

  /** Said once, and not with each try. */
  #failed(why: string): void {
    if (this.#shown === why) return;
    this.#shown = why;
    this.replaceChildren(failed(why));
  }

  #none(): void {
    clearInterval(this.#timer);
    const empty = make(
      'div',
      { class: 'empty-state' },
      make('span', { class: 'empty-glyph' }, icon('database')),
      make('h2', {}, 'This project has no database'),
      make('p', {}, 'It was created without one. A database is chosen when a project is made.'),
      make('a', { class: 'button', href: '/projects/new' }, 'New project'),
    );
    this.replaceChildren(make('div', { class: 'panel' }, empty));
  }

  /** Only what is new is built anew, and the focus stays where it was. */
  #show(view: View): void {
    // Another password may be why.
    if (view.restartPending && !this.#view?.restartPending) this.#secret = undefined;
    this.#view = view;
    const now = JSON.stringify([view, this.#secret]);
    if (now === this.#shown) return;
    this.#shown = now;
    const focused = this.contains(document.activeElement) ? document.activeElement?.getAttribute('data-key') : undefined;
    this.replaceChildren(
      figures(view),
      ...(view.restartPending ? [this.#waits()] : []),
      make('div', { class: 'split-page narrow-aside' }, make('div', { class: 'stack' }, this.#connect(view), uses()), make('div', { class: 'stack' }, parts(view), this.#reset(view))),
    );
    if (focused) this.querySelector<HTMLElement>(`[data-key="${focused}"]`)?.focus();
  }

  /** What a restart brings, as on the environment's page. */
  #waits(): HTMLElement {
    const restart = button('reload', 'Restart now', () => void this.#restart(restart));
    asks(restart).dataset['kind'] = 'primary';
    restart.dataset['key'] = 'restart';
    return make(
      'div',
      { class: 'banner', 'data-tone': 'warn', role: 'status' },
      icon('warning'),
      make('p', {}, make('strong', {}, 'The sandbox still runs with what it was started with.'), ' A restart brings the present variables and password into it; what runs ends.'),
      restart,
    );
  }

  async #restart(restart: HTMLElement): Promise<void> {
    const project = (this.getAttribute('src') ?? '').split('/')[3] ?? '';
    if (!(await mayEnd(project, 'Restart'))) return;
    restart.setAttribute('aria-busy', 'true');
    try {
      await ask('POST', `/api/sandbox/${project}/restart`, {});
      await this.#load();
    } catch (error) {
      this.#told(words(error), 'bad');
    } finally {
      restart.removeAttribute('aria-busy');
    }
  }

  #connect(view: View): HTMLElement {
    const url = address(view);
    const shown = this.#secret !== undefined;
    const reveal = button(shown ? 'eye-off' : 'eye', shown ? 'Hide' : 'Reveal', () => void this.#reveal());
    // To hide it asks for nothing.
    if (!shown) asks(reveal);
    reveal.dataset['key'] = 'reveal';
    reveal.setAttribute('aria-pressed', String(shown));
    reveal.setAttribute('aria-label', shown ? 'Hide the password' : 'Reveal the password');
    const body = make(
      'div',
      { class: 'panel-body stack' },
      make('h3', {}, 'In the terminal'),
      code('psql', 'the psql line'),
      make('p', { class: 'field-hint' }, 'The variables below are set in every terminal, so that psql needs nothing else.'),
      make('h3', {}, 'As one line'),
      url
        ? make('div', { class: 'code-field' }, make('code', {}, this.#secret ?? url), reveal, copier(() => this.#url(), 'the connection string'))
        : make('p', { class: 'field-hint' }, 'Shown to those who may change the project.'),
      make('p', { class: 'field-hint' }, 'It works inside this sandbox only.'),
    );
    return make('section', { class: 'panel', 'aria-labelledby': 'connect' }, make('div', { class: 'panel-head' }, make('h2', { id: 'connect' }, 'Connect')), body);
  }

  async #reveal(): Promise<void> {
    try {
      this.#secret = this.#secret === undefined ? await this.#url() : undefined;
      this.#told('');
    } catch (error) {
      this.#told(words(error), 'bad');
    }
    if (this.#view) this.#show(this.#view);
  }

  /** The address with the present password. That it was asked for is told in the activity. */
  async #url(): Promise<string> {
    return address(await ask<View>('POST', `${this.getAttribute('src')}/reveal`, {})) ?? '';
  }

  #reset(view: View): HTMLElement {
    const run = button('key', 'Reset password…', () => void this.#ask(view));
    asks(run).dataset['key'] = 'reset';
    return make(
      'section',
      { class: 'panel', 'aria-labelledby': 'password' },
      make('div', { class: 'panel-head' }, make('h2', { id: 'password' }, 'Password')),
      make(
        'div',
        { class: 'panel-body stack stack-tight' },
        make('p', { class: 'field-hint' }, 'It was made at random and is stored encrypted. Reset it if somebody saw it who should not have.'),
        make('div', {}, run),
        this.#say,
      ),
    );
  }

  async #ask(view: View): Promise<void> {
    const { answer } = await question({
      heading: `Reset the password of ${view.database}?`,
      text: 'The old one opens no new connection from then on. Connections that are open stay; the sandbox gets the new one with its next restart.',
      answers: [
        { text: 'Keep the password', value: 'keep' },
        { text: 'Reset the password', value: 'reset', danger: true },
      ],
    });
    if (answer !== 'reset') return;
    this.#told('Resetting…');
    try {
      // The answer has the new one, which nobody asked to see.
      await ask<View>('POST', `${this.getAttribute('src')}/reset-password`, {});
      this.#secret = undefined;
      await this.#load();
      this.#told('The database has a new password.');
    } catch (error) {
      this.#told(words(error), 'bad');
    }
    this.querySelector<HTMLElement>('[data-key=reset]')?.focus();
  }

  #told(text: string, tone = ''): void {
    tell(this.#say, text);
    this.#say.dataset['tone'] = tone;
  }
}

/** `postgresql://…`; not for those who may only look. */
function address({ psql }: View): string | undefined {
  return psql.split(' ')[1];
}

function failed(why: string): HTMLElement {
  return make('div', { class: 'banner', 'data-tone': 'bad', role: 'alert' }, icon('warning'), make('p', {}, make('strong', {}, 'The database could not be looked up.'), ' ', prose(why)));
}

function figures({ ready, figures }: View): HTMLElement {
  const figure = (name: string, value: string, more?: string) =>
    make('div', {}, make('dt', {}, name), make('dd', {}, value, more ? make('small', {}, ` ${more}`) : undefined));
  const state = make('span', { class: 'state-note', 'data-tone': ready ? 'good' : 'warn' }, icon(ready ? 'check' : 'warning'), ready ? 'Ready' : 'Not ready yet');
  const unknown = 'not known';
  return make(
    'dl',
    { class: 'figures' },
    make('div', {}, make('dt', {}, 'State'), make('dd', {}, state)),
    figure('Size', figures ? bytes(figures.sizeBytes) : unknown),
    figure('Connections', figures ? String(figures.connections) : unknown, figures?.mostConnections ? `of ${figures.mostConnections}` : ''),
    figure('PostgreSQL', figures?.version ?? unknown),
  );
}

function parts(view: View): HTMLElement {
  const row = (name: string, value: string) => make('div', {}, make('dt', {}, name), make('dd', {}, make('code', {}, value)));
  return make(
    'section',
    { class: 'panel', 'aria-labelledby': 'parts' },
    make('div', { class: 'panel-head' }, make('h2', { id: 'parts' }, 'Parts')),
    make(
      'div',
      { class: 'panel-body' },
      make('dl', { class: 'facts' }, row('Host', view.host), row('Port', String(view.port)), row('User', view.user), row('Database', view.database)),
    ),
  );
}

/**
 * What Prisma 7 wants: no address in the schema, and an adapter for the client. The journeys run these very lines, but not the one that
 * installs Prisma, nor `db push`.
 */
const PRISMA = {
  schema: 'generator client {\n  provider = "prisma-client-js"\n}\n\ndatasource db {\n  provider = "postgresql"\n}',
  config: "import { defineConfig, env } from 'prisma/config';\n\nexport default defineConfig({\n  schema: 'prisma/schema.prisma',\n  datasource: { url: env('DATABASE_URL') },\n});",
  client:
    "import { PrismaPg } from '@prisma/adapter-pg';\nimport { PrismaClient } from '@prisma/client';\n\nconst adapter = new PrismaPg({ connectionString: process.env.DATABASE_URL });\nconst prisma = new PrismaClient({ adapter });",
};

/** What to write into an application: names of variables, never their values. */
function uses(): HTMLElement {
  const row = (what: string, name: string) => make('div', {}, make('dt', {}, what), make('dd', {}, make('code', {}, name)));
  const block = (text: string, file: string) => [
    make('p', { class: 'field-hint' }, make('code', {}, file)),
    make('pre', { class: 'code-block', tabindex: '0', role: 'group', 'aria-label': `Lines for ${file}`, 'data-key': file }, text),
  ];
  return make(
    'section',
    { class: 'panel', 'aria-labelledby': 'uses' },
    make('div', { class: 'panel-head' }, make('h2', { id: 'uses' }, 'In your app')),
    make(
      'div',
      { class: 'panel-body stack' },
      make(
        'dl',
        { class: 'facts' },
        row('Prisma, node-postgres', 'DATABASE_URL'),
        row('psycopg, libpq and others', 'POSTGRES_URL'),
        row('Separate parts', 'PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE'),
      ),
      make('h3', {}, 'Prisma'),
      code('npm install prisma @prisma/client @prisma/adapter-pg', 'the line that installs Prisma'),
      ...block(PRISMA.schema, 'prisma/schema.prisma'),
      ...block(PRISMA.config, 'prisma.config.ts'),
      ...block(PRISMA.client, 'your app'),
      code('npx prisma db push && npx prisma generate', 'the Prisma line'),
      make('p', { class: 'field-hint' }, 'prisma migrate dev makes a second database to compare with, which this one’s user may not.'),
    ),
  );
}

function code(text: string, what: string): HTMLElement {
  return make('div', { class: 'code-field' }, make('code', {}, text), copier(text, what));
}

/** Copies `text`, or what has it when it is wanted. */
function copier(text: string | (() => Promise<string>), what: string): HTMLElement {
  const told = (words: string) => {
    made.lastChild!.textContent = words;
    made.setAttribute('aria-label', words === 'Copy' ? `Copy ${what}` : `${words}: ${what}`);
  };
  const made = button('copy', 'Copy', () => {
    const copied = async () => copy(typeof text === 'string' ? text : await text());
    void copied()
      .then((done) => told(done ? 'Copied' : 'Not copied'), () => told('Not copied'))
      .finally(() => setTimeout(() => told('Copy'), 1_500));
  });
  told('Copy');
  made.dataset['key'] = what;
  if (typeof text !== 'string') asks(made);
  return made;
}
