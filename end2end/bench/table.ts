// Numbers to lines: percentiles, targets, and whether they were met.
import os from 'node:os';

export interface Row {
  what: string;
  p50: string;
  p99: string;
  /** What the generator itself used, in percent of one core. */
  generator: string;
  target: string;
  /** `undefined` where there is no target. */
  met: boolean | undefined;
}

export function percentile(values: number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil((p / 100) * sorted.length) - 1))] ?? Number.NaN;
}

export const ms = (value: number): string => (value < 10 ? `${value.toFixed(2)} ms` : `${value.toFixed(0)} ms`);
export const seconds = (value: number): string => `${(value / 1000).toFixed(2)} s`;
export const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

/** A row of latencies; met or missed where there is a limit. */
export function latency(what: string, samples: number[], generator: string, limits: { p50?: number; p99?: number }, show = ms): Row {
  const [p50, p99] = [percentile(samples, 50), percentile(samples, 99)];
  const target = Object.entries(limits).map(([name, limit]) => `${name} ≤ ${show(limit)}`).join(', ');
  const met = target === '' ? undefined : p50 <= (limits.p50 ?? Infinity) && p99 <= (limits.p99 ?? Infinity);
  return { what: `${what} (n=${samples.length})`, p50: show(p50), p99: show(p99), generator, target, met };
}

/** What some work gives, one time after the other. */
export async function repeat(times: number, one: (n: number) => Promise<number>): Promise<number[]> {
  const samples: number[] = [];
  for (let n = 0; n < times; n++) samples.push(await one(n));
  return samples;
}

/** The share of one core that this process used while `work` ran. */
export async function generatorShare<T>(work: () => Promise<T>): Promise<{ value: T; share: string }> {
  const cpu = process.cpuUsage();
  const start = performance.now();
  const value = await work();
  const used = process.cpuUsage(cpu);
  const share = ((used.user + used.system) / 1000 / (performance.now() - start)) * 100;
  return { value, share: `${share.toFixed(0)} %` };
}

export function table(rows: Row[]): string {
  const head = ['what', 'p50', 'p99', 'generator', 'target', ''];
  const lines = rows.map(({ what, p50, p99, generator, target, met }) => [what, p50, p99, generator, target, met === undefined ? '' : met ? 'ok' : 'MISSED']);
  const widths = head.map((title, column) => Math.max(title.length, ...lines.map((line) => line[column]!.length)));
  const show = (cells: string[]) => `| ${cells.map((cell, column) => cell.padEnd(widths[column]!)).join(' | ')} |`;
  return [show(head), show(widths.map((width) => '-'.repeat(width))), ...lines.map(show)].join('\n');
}

export function machine(): string {
  const cpus = os.cpus();
  return `${cpus.length} × ${cpus[0]?.model.trim() ?? 'CPU'}, ${(os.totalmem() / 2 ** 30).toFixed(0)} GiB, load ${os.loadavg()[0]!.toFixed(2)} at the start`;
}
