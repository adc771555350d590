// Apps under development, as their users have them: `npm run dev` in a terminal, a change to a file, and the page in the
// preview has it without being loaded again.
import type { Api } from '../support/api.ts';
import { install } from '../support/apps.ts';
import { expect, test } from '../support/fixtures.ts';
import { Workspace } from '../support/pages.ts';
import { Terminal } from '../support/terminal.ts';
import { until } from '../support/until.ts';

/** Begins it, and waits until its port is told. */
async function dev(api: Api, project: string, app: string, port: number): Promise<Terminal> {
  const terminal = await Terminal.open(api, project, { session: 'dev' });
  await terminal.prompt();
  terminal.type(`cd ~/${app} && NEXT_TELEMETRY_DISABLED=1 npm run dev\r`);
  await until(`port ${port} of ${app}`, async () => (await api.sandbox(project)).ports.some((open) => open.port === port), 60_000);
  return terminal;
}

for (const [app, port, title] of [
  ['vite', 5173, 'vite: a change is seen in the preview, and what was typed there stays'],
  ['next', 3000, 'next: a change is seen in the preview, and what was typed there stays'],
] as const) {
  test(title, async ({ api, project, visitor }) => {
    test.setTimeout(240_000);
    await install(api, project.id, app);
    const terminal = await dev(api, project.id, app, port);
    const page = await (await visitor()).newPage();
    // When the app's server last said something to its page.
    let said = 0;
    page.on('websocket', (socket) => {
      if (socket.url().includes(`${port}--`)) socket.on('framereceived', () => (said = performance.now()));
    });
    await page.goto(`/projects/${project.id}?port=${port}#preview`);
    const { preview } = new Workspace(page);
    const heading = preview.getByRole('heading', { level: 1 });
    await expect(heading).toHaveText('Before', { timeout: 60_000 });
    // A server that still builds what the page has asked for may take a change for a part of that.
    await until('hot reload to be connected, and quiet', () => said > 0 && performance.now() - said > 2_000, 60_000);
    const kept = preview.getByLabel('Kept');
    await kept.fill('typed before');
    for (const title of ['After', 'After that']) {
      const raw = `export const title = '${title}';\n`;
      await api.must('PUT', `/api/sandbox/${project.id}/files/${app}/title.js`, { raw, headers: { 'content-type': 'text/javascript' } });
      await expect(heading).toHaveText(title, { timeout: 30_000 });
      await expect(kept, 'the page was not loaded again').toHaveValue('typed before');
    }
    terminal.type('\x03');
  });
}
