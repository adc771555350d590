// Parts of pages that are made by hand: elements, icons, questions.

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

export interface Question {
  heading: string;
  text: string;
  /** What each answer says; the first is safe, and has the focus. */
  answers: { text: string; value: string; danger?: boolean }[];
  /** A field to fill in. */
  field?: { label: string; value: string; wrong: (value: string) => string | undefined };
}

/** Asks, and says which answer was given; closing it is the first one. The focus goes back where it was. */
export function ask(question: Question): Promise<{ answer: string; text: string }> {
  return new Promise((resolve) => {
    const [safe, ...others] = question.answers;
    const input = question.field && make('input', { class: 'input mono', id: 'ask-field', autocomplete: 'off', spellcheck: 'false', 'aria-describedby': 'ask-wrong' });
    const wrong = make('p', { class: 'field-message', id: 'ask-wrong', 'data-tone': 'bad', role: 'alert' });
    const dialog = make('dialog', { class: 'dialog', 'aria-labelledby': 'ask-title', role: question.field ? undefined : 'alertdialog' });
    let given = safe?.value ?? '';
    const close = (answer: string) => {
      const why = answer === safe?.value ? undefined : question.field?.wrong(input?.value ?? '');
      if (why) {
        wrong.textContent = why;
        input?.setAttribute('aria-invalid', 'true');
        input?.focus();
        return;
      }
      given = answer;
      dialog.close();
    };
    const choice = ({ text, value, danger }: Question['answers'][number], primary: boolean) =>
      make(
        'button',
        {
          type: primary && input ? 'submit' : 'button',
          class: 'button',
          'data-kind': danger ? 'danger-solid' : primary ? 'primary' : undefined,
          autofocus: value === safe?.value && !input,
          onclick: (event: Event) => {
            event.preventDefault();
            close(value);
          },
        },
        text,
      );
    const last = others.length - 1;
    const form = make(
      'form',
      { novalidate: true },
      make(
        'div',
        { class: 'dialog-body' },
        question.text !== '' && make('p', {}, question.text),
        input && make('div', { class: 'field' }, make('label', { class: 'field-label', for: 'ask-field' }, question.field?.label ?? ''), input, wrong),
      ),
      make('div', { class: 'dialog-foot' }, safe && choice(safe, false), ...others.map((answer, at) => choice(answer, at === last))),
    );
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      close(others[last]?.value ?? '');
    });
    dialog.append(make('div', { class: 'dialog-head' }, make('h2', { id: 'ask-title' }, make('bdi', {}, question.heading))), form);
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve({ answer: given, text: input?.value ?? '' });
    });
    document.body.append(dialog);
    dialog.showModal();
    if (input) {
      input.value = question.field?.value ?? '';
      input.focus();
      const dot = input.value.lastIndexOf('.');
      input.setSelectionRange(0, dot > 0 ? dot : input.value.length);
    }
  });
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
