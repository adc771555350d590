// The elements that pages have by name, and that do all of what is in them.

import { Files } from './files.ts';
import { Share } from './share.ts';

customElements.define('fsa-files', Files);
customElements.define('fsa-share', Share);
