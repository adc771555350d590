import { title } from './title.js';

const show = (title) => (document.querySelector('h1').textContent = title);
show(title);
import.meta.hot?.accept('./title.js', (next) => show(next.title));
