// Puts into ~/.claude.json what lets Claude Code start without a question. What is no object there is the user's
// own mistake, and theirs to find.
const fs = require('fs');
const file = `${process.env.HOME}/.claude.json`;
let before;
try {
  before = fs.readFileSync(file, 'utf8');
} catch (error) {
  if (error.code !== 'ENOENT') process.exit(0);
}
let settings;
try {
  settings = JSON.parse(before ?? '{}');
} catch {
  process.exit(0);
}
if (!settings || typeof settings !== 'object' || Array.isArray(settings)) process.exit(0);
settings.hasCompletedOnboarding = true;
const key = process.env.ANTHROPIC_API_KEY;
if (key) {
  const approved = ((settings.customApiKeyResponses ??= {}).approved ??= []);
  const tail = key.slice(-20);
  if (Array.isArray(approved) && !approved.includes(tail)) approved.push(tail);
}
const after = JSON.stringify(settings, null, 2);
if (after !== before) {
  const aside = `${file}.${process.pid}`;
  fs.writeFileSync(aside, after, { mode: 0o600, flag: 'wx' });
  fs.renameSync(aside, file);
}
