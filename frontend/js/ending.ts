// What ends the programs of a sandbox (a stop, a restart, another size) asks first where one runs in a terminal. Whoever asks for it comes by here:
// keys and the palette, elements, and the app's own buttons, which say what they ask for in `data-verb`, of the project of their row, or of the page.

import { ask } from './api.ts';
import { ask as question } from './dom.ts';
import { atWork, type Listed } from './sessions.ts';
import { projectHere } from './shortcuts.ts';

/** How long it may take to say what runs inside. A sandbox that does not say it is asked all the same: it may be why it is to stop. */
const LOOK_MS = 3_000;
/** What a button says that ends programs. */
const ENDS = /^(Stop|Restart|Resize)$/;
/** The projects that are asked about: a second click or key before the answer asks for nothing more. */
const asking = new Set<string>();
/** Those whose click has its answer. */
const answered = new WeakSet<Element>();

/** Whether a project's sandbox may be asked for `name`: at once where no program runs, or none is known of; else as somebody answers. */
export async function mayEnd(project: string, name: string): Promise<boolean> {
  if (asking.has(project)) return false;
  asking.add(project);
  try {
    const signal = AbortSignal.timeout(LOOK_MS);
    const text = atWork(await ask<Listed[]>('GET', `/api/sandbox/${project}/terminals`, undefined, signal).catch(() => []));
    if (!text) return true;
    const answers = [
      { text: 'Keep it running', value: 'keep' },
      { text: `${name} the sandbox`, value: 'go', danger: true },
    ];
    return (await question({ heading: `${name} the sandbox?`, text, answers })).answer === 'go';
  } finally {
    asking.delete(project);
  }
}

/** Whose sandbox a button is for. */
function projectOf(button: Element): string | undefined {
  const row = button.closest('.project-row');
  return row ? /[0-9a-f-]{36}/.exec(row.querySelector('.project-name')?.getAttribute('href') ?? '')?.[0] : projectHere();
}

/** Has a click on a button that ends programs wait for the answer. */
async function click(button: HTMLElement, name: string, project: string): Promise<void> {
  if (asking.has(project)) return;
  button.setAttribute('aria-busy', 'true');
  const may = await mayEnd(project, name);
  button.removeAttribute('aria-busy');
  // The page may have made it anew meanwhile.
  const such = document.querySelectorAll<HTMLElement>(`[data-verb="${name}"]`);
  const now = button.isConnected ? button : [...such].find((other) => projectOf(other) === project);
  if (may && now) {
    answered.add(now);
    now.click();
    answered.delete(now);
  } else if (!may && document.activeElement === document.body) {
    // A menu closes below a question.
    now?.closest('.menu-anchor')?.querySelector<HTMLElement>('[aria-haspopup]')?.focus();
  }
}

/** Listens, once for the page. */
export function begin(): void {
  addEventListener(
    'click',
    (event) => {
      const button = event.target instanceof Element ? event.target.closest<HTMLElement>('[data-verb]') : null;
      const name = ENDS.exec(button?.dataset['verb'] ?? '')?.[0];
      const project = button && name ? projectOf(button) : undefined;
      // One that rests does nothing anyway, and what is clicked before the page is alive is clicked again then.
      if (!button || !name || !project || answered.has(button) || event.defaultPrevented || button.getAttribute('aria-disabled') === 'true') return;
      event.preventDefault();
      event.stopImmediatePropagation();
      void click(button, name, project);
    },
    true,
  );
}
