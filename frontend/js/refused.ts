// A field that was refused says why, below itself. Whoever learns it calls the field's `setCustomValidity` and `checkValidity`, as the form of a
// new project does with the `field` of the server's error; the rest is here: the words, what assistive technology is told, the focus, and that all
// of it goes as soon as the field is changed. What was typed stays.

import { icon, make, prose } from './dom.ts';

type Field = HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement;

let ids = 0;

function show(field: Field): void {
  const known = field.getAttribute('aria-describedby');
  const message = make('p', { class: 'field-message', id: `refused-${++ids}`, 'data-tone': 'bad', role: 'alert' }, icon('error'), prose(field.validationMessage));
  (field.closest('.field') ?? field.parentElement)?.append(message);
  field.setAttribute('aria-invalid', 'true');
  field.setAttribute('aria-describedby', known ? `${known} ${message.id}` : message.id);
  field.focus();
  const changed = new AbortController();
  const clear = (): void => {
    changed.abort();
    message.remove();
    field.setCustomValidity('');
    field.removeAttribute('aria-invalid');
    if (known) field.setAttribute('aria-describedby', known);
    else field.removeAttribute('aria-describedby');
  };
  field.addEventListener('input', clear, { signal: changed.signal });
  // Refused once more: the words of now are shown, and not both.
  field.addEventListener('refused', clear, { signal: changed.signal });
}

/** Listens, once for the page. */
export function begin(): void {
  addEventListener(
    'invalid',
    (event) => {
      const field = event.target;
      if (!(field instanceof HTMLInputElement || field instanceof HTMLTextAreaElement || field instanceof HTMLSelectElement)) return;
      const why = field.validationMessage;
      if (!field.validity.customError) return;
      event.preventDefault();
      field.dispatchEvent(new Event('refused'));
      field.setCustomValidity(why);
      show(field);
    },
    true,
  );
}
