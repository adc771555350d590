// Parts of pages that are made by hand: elements, icons, sentences, questions.

import { runs } from './prose.ts';

type Child = Node | string | undefined | false;

/** An element with attributes, listeners (`onclick`) and children. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, string | boolean | undefined | ((event: never) => void)> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value as (event: Event) => void);
    else if (typeof value === 'string') element.setAttribute(name, value);
    else if (value) element.setAttribute(name, '');
  }
  element.append(...children.filter((child): child is Node | string => child !== undefined && child !== false));
  return element;
}

/** An icon of the page's sheet. It says nothing by itself. */
export function icon(name: string): SVGSVGElement {
  const sheet = document.querySelector<HTMLMetaElement>('meta[name=fsa-icons]')?.content ?? '';
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.classList.add('icon');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  use.setAttribute('href', `${sheet}#${name}`);
  svg.append(use);
  return svg;
}

/** A small button with an icon and words; without words to the eye where `label` names it. */
export function button(glyph: string, text: string, click: () => void, label?: string): HTMLButtonElement {
  const made = make('button', { type: 'button', class: 'button', 'data-size': 'small', onclick: () => click() }, icon(glyph), text || undefined);
  if (label) {
    made.setAttribute('aria-label', label);
    made.title = label;
  }
  if (!text) made.dataset['shape'] = 'icon';
  return made;
}

/** Marks what asks something of the server, and so rests while there is no connection (offline.ts). */
export function asks<T extends HTMLElement>(element: T): T {
  element.dataset['asks'] = '';
  return element;
}

/** A sentence in one element, so that it stays one in a row: what stands in backticks is code. */
export function prose(sentence: string): HTMLElement {
  return make('span', {}, ...runs(sentence).map(({ text, code }) => (code ? make('code', {}, text) : text)));
}

/** Has an element say a sentence, in place of what it said; an empty one leaves nothing. */
export function tell(element: Element, sentence: string): void {
  element.replaceChildren(...(sentence === '' ? [] : [prose(sentence)]));
}

/** A field of a question. */
export interface Field {
  label: string;
  value: string;
  hint?: string;
  /** Proposed while it is typed. */
  choices?: readonly string[];
  wrong: (value: string) => string | undefined;
}

export interface Question {
  heading: string;
  text: string;
  /** What each answer says; the first is safe, and has the focus. */
  answers: { text: string; value: string; danger?: boolean }[];
  /** Whether the answers ask nothing of the server: they are there without it, too. */
  local?: boolean;
  /** To fill in; the first has the focus. */
  fields?: Field[];
  /**
   * Does what an answer that is not the safe one asks for, with what the fields have, before the dialog closes. Where it is refused, it says
   * why and of which field, and the dialog stays.
   */
  attempt?: (texts: string[]) => Promise<{ field: number; why: string } | undefined>;
}

/** Asks, and says which answer was given; closing it is the first one. The focus goes back where it was. */
export function ask(question: Question): Promise<{ answer: string; texts: string[] }> {
  return new Promise((resolve) => {
    const [safe, ...others] = question.answers;
    const fields = (question.fields ?? []).map((field, at) => fieldOf(field, at));
    const texts = (): string[] => fields.map(({ input }) => input.value);
    const dialog = make('dialog', { class: 'dialog', 'aria-labelledby': 'ask-title', role: fields.length > 0 ? undefined : 'alertdialog' });
    let given = safe?.value ?? '';
    let attempt: Promise<boolean> | undefined;
    const refuse = (at: number, why: string): void => {
      const field = fields[at];
      if (!field) return;
      tell(field.wrong, why);
      field.input.setAttribute('aria-invalid', 'true');
      field.input.focus();
    };
    const attempted = async (answer: string): Promise<boolean> => {
      dialog.setAttribute('aria-busy', 'true');
      const refused = await question.attempt?.(texts());
      dialog.removeAttribute('aria-busy');
      if (refused) refuse(refused.field, refused.why);
      else given = answer;
      return refused === undefined;
    };
    const close = async (answer: string): Promise<void> => {
      // One at a time.
      if (attempt) return;
      if (answer !== safe?.value) {
        for (const { input, wrong } of fields) {
          wrong.replaceChildren();
          input.removeAttribute('aria-invalid');
        }
        for (const [at, { of, input }] of fields.entries()) {
          const why = of.wrong(input.value);
          if (why) return refuse(at, why);
        }
        attempt = attempted(answer);
        const done = await attempt;
        attempt = undefined;
        if (!done) return;
      }
      dialog.close();
    };
    const choice = ({ text, value, danger }: Question['answers'][number], primary: boolean) =>
      make(
        'button',
        {
          type: primary && fields.length > 0 ? 'submit' : 'button',
          class: 'button',
          'data-kind': danger ? 'danger-solid' : primary ? 'primary' : undefined,
          'data-asks': value !== safe?.value && !question.local,
          autofocus: value === safe?.value && fields.length === 0,
          onclick: (event: Event) => {
            event.preventDefault();
            void close(value);
          },
        },
        text,
      );
    const last = others.length - 1;
    const form = make(
      'form',
      { novalidate: true },
      make('div', { class: 'dialog-body' }, question.text !== '' && make('p', {}, prose(question.text)), ...fields.map(({ element }) => element)),
      make('div', { class: 'dialog-foot' }, safe && choice(safe, false), ...others.map((answer, at) => choice(answer, at === last))),
    );
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      void close(others[last]?.value ?? '');
    });
    dialog.append(make('div', { class: 'dialog-head' }, make('h2', { id: 'ask-title' }, make('bdi', {}, question.heading))), form);
    dialog.addEventListener('close', () => {
      dialog.remove();
      // What is under way when it is closed by a key is waited for: whether it was done is part of the answer.
      void Promise.resolve(attempt).then(() => resolve({ answer: given, texts: texts() }));
    });
    document.body.append(dialog);
    dialog.showModal();
    const first = fields[0]?.input;
    if (first) {
      first.focus();
      const dot = first.value.lastIndexOf('.');
      first.setSelectionRange(0, dot > 0 ? dot : first.value.length);
    }
  });
}

function fieldOf(of: Field, at: number): { of: Field; element: HTMLElement; input: HTMLInputElement; wrong: HTMLElement } {
  const [id, hint, list] = [`ask-field-${at}`, `ask-hint-${at}`, `ask-choices-${at}`];
  const described = [of.hint && hint, `ask-wrong-${at}`].filter(Boolean).join(' ');
  const input = make('input', { class: 'input mono', id, autocomplete: 'off', spellcheck: 'false', list: of.choices && list, 'aria-describedby': described });
  input.value = of.value;
  const wrong = make('p', { class: 'field-message', id: `ask-wrong-${at}`, 'data-tone': 'bad', role: 'alert' });
  const element = make(
    'div',
    { class: 'field' },
    make('label', { class: 'field-label', for: id }, of.label),
    input,
    of.choices && make('datalist', { id: list }, ...of.choices.map((value) => make('option', { value }))),
    of.hint !== undefined && make('p', { class: 'field-hint', id: hint }, of.hint),
    wrong,
  );
  return { of, element, input, wrong };
}

/** What an answer of the API says, where it is a refusal. */
export async function refusal(answer: Response): Promise<{ message: string; next: string; code: string; versions?: { current?: string | null } }> {
  const told = await answer.json().catch(() => undefined);
  const details = told?.details ?? {};
  return {
    message: details.message ?? `The server answered ${answer.status}.`,
    next: details.nextSteps?.[0] ?? '',
    code: details.code ?? 'unknown',
    versions: details.versions,
  };
}

/** A time as this browser's user writes it: date, hour and minute. */
export function when(at: string): string {
  return new Date(at).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short', hour12: false });
}
