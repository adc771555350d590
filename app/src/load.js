// Loading the parts of a page, inline in its head before any of them. A part that does not come is asked for again: a network that changes, or a
// proxy that fails for a moment, leaves no page without it. Three functions of the page:
//
//     fsaLoad      one part; a promise that fails where it did not come for some six seconds
//     fsaLasting   what the page cannot do without: says what is missing, and goes on when it is asked to or the network is back
//     fsaMissing   the words of both
(() => {
  const WAITS_MS = [500, 1_500, 4_000];
  const loads = new Map();
  const failed = new Set();
  let fresh = 0;

  // A module that failed stays failed under its name in some browsers, and so does each that it imports. By a folder of its own all of them have
  // another name, and the server gives the same (server/src/http/assets.rs).
  const name = (address) => (failed.has(address) ? address.replace(/^\/pkg\/(?:again-\d+\/)?/, `/pkg/again-${++fresh}/`) : address);
  // Served by another version of the server, which has it no more.
  const gone = (address) => fetch(address, { method: 'HEAD', cache: 'no-store' }).then(({ status }) => status === 404, () => false);
  // The wait before the next try. A network that is back ends it.
  const pause = (ms) =>
    new Promise((done) => {
      const over = () => {
        clearTimeout(timer);
        removeEventListener('online', over);
        done();
      };
      const timer = setTimeout(over, ms);
      addEventListener('online', over);
    });
  const persist = async (address, open) => {
    for (let at = 0; ; at += 1) {
      try {
        return await open(name(address));
      } catch (error) {
        failed.add(address);
        if (at === WAITS_MS.length) throw Object.assign(new Error(`${address}: ${error?.message ?? error}`), { gone: await gone(address) });
        await pause(WAITS_MS[at]);
      }
    }
  };

  // One part, loaded once and given to `use` once, however often it is asked for; one that failed is loaded anew.
  window.fsaLoad = (address, use = (part) => part, open = (at) => import(at)) => {
    let load = loads.get(address);
    if (!load) {
      load = persist(address, open).then(use);
      loads.set(address, load);
      load.catch(() => loads.delete(address));
    }
    return load;
  };

  // Shows that something is missing, in the element that `place` finds, until it is taken away. Where there is nothing to try again, or the page is of
  // an older version than the server, the page is to be loaded anew.
  window.fsaMissing = (missing, place, error, again) => {
    const note = document.createElement('div');
    note.className = place === 'body' ? 'banner banner-strip dead-note' : 'banner terminal-note';
    note.dataset.tone = 'bad';
    note.setAttribute('role', 'alert');
    const [words, heading, button] = ['p', 'strong', 'button'].map((tag) => document.createElement(tag));
    heading.textContent = missing;
    const reloads = error?.gone || !again;
    const why = reloads ? 'Its code failed.' : 'Not all of its code arrived.';
    words.append(heading, ` ${error?.gone ? 'The server was updated, and this page is of an older version.' : why}`);
    button.type = 'button';
    button.className = 'button';
    button.dataset.size = 'small';
    button.textContent = reloads ? 'Reload' : 'Try again';
    button.onclick = reloads ? () => location.reload() : again;
    note.append(words, button);
    if (place === 'body') document.body.prepend(note);
    else document.querySelector(place)?.append(note);
    return note;
  };

  // Loads until it is there; whoever asks again while it waits has it try. The note is gone by then.
  window.fsaLasting = (missing, place, go) => {
    let loading;
    let again;
    const run = async () => {
      let note;
      const focused = () => note?.contains(document.activeElement);
      for (;;) {
        try {
          const part = await go();
          const had = focused();
          note?.remove();
          if (had) document.getElementById('main')?.focus();
          return part;
        } catch (error) {
          console.error(error);
          await new Promise((done) => {
            const had = focused();
            note?.remove();
            again = done;
            note = window.fsaMissing(missing, place, error, done);
            if (had) note.querySelector('button').focus();
            addEventListener('online', done);
          });
          removeEventListener('online', again);
          again = undefined;
          if (!error.gone) note.querySelector('button').setAttribute('aria-busy', 'true');
        }
      }
    };
    return () => {
      again?.();
      return (loading ??= run());
    };
  };
})();
