// Which Chromium journeys and benchmarks run in.
import { onCluster } from './cluster.ts';

/**
 * The headless shell, where there is one. Not beside a cluster, whose pods come and go with network devices of their own: it ends what it is
 * asking then (net::ERR_NETWORK_CHANGED), more often than a whole one does.
 */
export const CHROMIUM = (onCluster && process.env['FSA_WHOLE_CHROMIUM']) || process.env['FSA_CHROMIUM'] || '/usr/bin/chromium';
