// Samples of a value over time, as a line and in words. Pure.

import { bytes } from './size.ts';

/** When, in milliseconds since the epoch, and what. */
export type Sample = [at: number, value: number];

export const WINDOW_MS = 180_000;
/** Between samples that are further apart nothing is known. */
const GAP_MS = 7_000;

/** Those of the last minutes, in order. */
export function kept(samples: readonly Sample[], now: number): Sample[] {
  return samples.filter(([at]) => at > now - WINDOW_MS && at <= now);
}

interface At {
  now: number;
  width: number;
  height: number;
  most: number;
}

function runs(samples: readonly Sample[]): Sample[][] {
  const found: Sample[][] = [];
  for (const sample of samples) {
    const last = found.at(-1);
    if (last && sample[0] - last.at(-1)![0] <= GAP_MS) last.push(sample);
    else found.push([sample]);
  }
  return found;
}

/** The highest fills the height, but what is under a tenth of the limit stays low. */
function points(run: readonly Sample[], samples: readonly Sample[], { now, width, height, most }: At): [string, string][] {
  const top = Math.max(...samples.map(([, value]) => value), most / 10, 1e-9);
  const place = ([at, value]: Sample): [string, string] => [
    (width * (1 - (now - at) / WINDOW_MS)).toFixed(1),
    (height - 1 - (Math.max(value, 0) / top) * (height - 2)).toFixed(1),
  ];
  return run.map(place);
}

export function line(samples: readonly Sample[], at: At): string {
  return runs(samples)
    .map((run) => `M${points(run, samples, at).map((point) => point.join(' ')).join('L')}`)
    .join('');
}

export function area(samples: readonly Sample[], at: At): string {
  return runs(samples)
    .map((run) => {
      const all = points(run, samples, at);
      return `M${all[0]![0]} ${at.height}L${all.map((point) => point.join(' ')).join('L')}L${all.at(-1)![0]} ${at.height}Z`;
    })
    .join('');
}

/** For those who do not see it. */
export function said(of: string, samples: readonly Sample[], span: number): string {
  const last = samples.at(-1);
  if (!last) return `${of}: not measured yet`;
  const text = (value: number) => (of === 'CPU' ? `${Math.round(value)}%` : bytes(value));
  const minutes = Math.max(1, Math.min(Math.ceil((last[0] - samples[0]![0]) / 60_000), span / 60_000));
  const values = samples.map(([, value]) => value);
  const time = minutes === 1 ? 'the last minute' : `the last ${minutes} minutes`;
  return `${of} in ${time}: now ${text(last[1])}, between ${text(Math.min(...values))} and ${text(Math.max(...values))}`;
}
