// The picture of the README: Claude Code in the terminal, the app that it speaks of in the preview. It is docs/workspace.png
// where `FSA_PICTURE` says so (docs/development.md).
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { ONE_MACHINE } from '../support/cluster.ts';
import { expect, test } from '../support/fixtures.ts';
import { MessagesApi } from '../support/messages-api.ts';
import { Workspace } from '../support/pages.ts';

const SCREENSHOTS = path.join(path.dirname(path.dirname(fileURLToPath(import.meta.url))), 'screenshots');
const PICTURE = process.env['FSA_PICTURE'] || path.join(SCREENSHOTS, 'readme.png');

const APP = `const http = require('http');
const page = \`<!doctype html><html lang="en"><title>Tidewater</title><style>
body{font:16px/1.5 system-ui,sans-serif;margin:0;background:#f4f7f9;color:#12313f}header{background:#0d5c75;color:#fff;padding:28px 32px}
h1{margin:0;font-size:26px}header p{margin:4px 0 0;opacity:.85}ul{list-style:none;margin:24px 32px;padding:0;display:grid;gap:12px}
li{background:#fff;border:1px solid #d5e0e6;border-radius:10px;padding:14px 18px;display:flex;justify-content:space-between}b{font-weight:600}span{color:#4c6a78}
</style><header><h1>Boats for hire</h1><p>Tidewater harbour</p></header><ul>
<li><b>Kestrel</b><span>dinghy, 4 seats</span></li><li><b>Marsh Harrier</b><span>cutter, 8 seats</span></li><li><b>Avocet</b><span>rowing boat, 3 seats</span></li><li><b>Curlew</b><span>punt, 5 seats</span></li></ul></html>\`;
http.createServer((q, r) => r.setHeader('content-type', 'text/html').end(page)).listen(3000);
`;

// One picture is enough; Claude Code on a cluster is in e-claude.
test('Claude Code and the app that it speaks of are seen side by side', ONE_MACHINE, async ({ ownServer, visitor }) => {
  test.setTimeout(180_000);
  const messages = await MessagesApi.start();
  messages.answer = () =>
    'The harbour has four boats in `boats`. I added a page that lists them, newest first, and it is served on port 3000: the preview beside this terminal shows it.';
  try {
    const server = await ownServer({ secret: { ANTHROPIC_API_KEY: 'sk-test-0123456789abcdefghijklmnop', ANTHROPIC_BASE_URL: messages.origin } });
    const api = await server.api();
    const project = await api.running('Tidewater');
    await api.output(project.id, 'cat > app.js; (setsid node app.js > /dev/null 2>&1 &)', { stdin: APP });
    const page = await (await visitor({ server })).newPage();
    const workspace = await new Workspace(page).open(project.id);
    await expect(workspace.preview.getByRole('heading', { name: 'Boats for hire' })).toBeVisible();
    const terminal = await workspace.terminal().prompt();
    await terminal.enter("psql -c 'select name, seats from (values ($$Kestrel$$, 4), ($$Avocet$$, 3)) as boats (name, seats)'");
    await terminal.sees(/\(2 rows\)/);
    await terminal.enter('claude');
    await terminal.sees(/(^|\n)\s*[│|]?\s*[❯>]\s/, 60_000);
    await terminal.type('Add a page that lists the boats, newest first');
    await terminal.sees(/newest first/);
    await page.keyboard.press('Enter');
    await terminal.sees(/served on port 3000/, 60_000);
    fs.mkdirSync(path.dirname(PICTURE), { recursive: true });
    await page.screenshot({ path: PICTURE, animations: 'disabled' });
  } finally {
    await messages.stop();
  }
});
