// The elements that pages have by name, and that do all of what is in them; and the keys of the whole page.

import { ClaudeCredentials } from './claude.ts';
import { Database } from './database.ts';
import { begin as forgetDrafts } from './drafts.ts';
import { begin as askBeforeEnds } from './ending.ts';
import { Extra } from './extra.ts';
import { Files } from './files.ts';
import { Filter } from './filter.ts';
import { tellOffset } from './first.ts';
import { begin as electLeader } from './leader.ts';
import { begin as restOffline } from './offline.ts';
import { Preview } from './preview.ts';
import { begin as sayRefused } from './refused.ts';
import { Sandboxes } from './sandboxes.ts';
import { Share } from './share.ts';
import { Shares } from './shares.ts';
import { begin } from './shortcuts.ts';
import { SignedIn } from './signed-in.ts';
import { Source } from './source.ts';
import { Spark } from './spark.ts';
import { Split } from './split.ts';

customElements.define('fsa-source', Source);
customElements.define('fsa-files', Files);
customElements.define('fsa-sandboxes', Sandboxes);
customElements.define('fsa-extra', Extra);
customElements.define('fsa-share', Share);
customElements.define('fsa-shares', Shares);
customElements.define('fsa-claude', ClaudeCredentials);
customElements.define('fsa-preview', Preview);
customElements.define('fsa-database', Database);
customElements.define('fsa-filter', Filter);
customElements.define('fsa-sessions', SignedIn);
customElements.define('fsa-spark', Spark);
customElements.define('fsa-split', Split);
begin();
electLeader();
sayRefused();
restOffline();
// After that: what rests without a connection asks nothing.
askBeforeEnds();
forgetDrafts();
tellOffset();
