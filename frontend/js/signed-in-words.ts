// Sessions in words. Pure.

/** What a browser calls itself, as people call it. */
export function browser(agent: string | null): string {
  if (!agent) return 'A browser';
  const names: [RegExp, string][] = [
    [/Edg(e|A|iOS)?\//, 'Edge'],
    [/OPR\//, 'Opera'],
    [/Firefox\/|FxiOS\//, 'Firefox'],
    [/Chrome\/|CriOS\//, 'Chrome'],
    [/Safari\//, 'Safari'],
    [/curl\//, 'curl'],
  ];
  const systems: [RegExp, string][] = [
    [/iPhone|iPad/, 'iOS'],
    [/Android/, 'Android'],
    [/Windows/, 'Windows'],
    [/Mac OS X|Macintosh/, 'macOS'],
    [/CrOS/, 'ChromeOS'],
    [/Linux/, 'Linux'],
  ];
  const of = (list: [RegExp, string][]) => list.find(([found]) => found.test(agent))?.[1];
  const [name, system] = [of(names), of(systems)];
  if (name && system) return `${name} on ${system}`;
  return name ?? (system ? `A browser on ${system}` : agent.slice(0, 60));
}

/** "3 hours ago". */
export function ago(at: string, now: number): string {
  const minutes = Math.max(0, Math.floor((now - Date.parse(at)) / 60_000));
  if (minutes < 1) return 'just now';
  const [count, unit] = minutes < 60 ? [minutes, 'minute'] : minutes < 1440 ? [Math.floor(minutes / 60), 'hour'] : [Math.floor(minutes / 1440), 'day'];
  return `${count} ${unit}${count === 1 ? '' : 's'} ago`;
}

/** "Signed in 3 hours ago". */
export function since(at: string, now: number): string {
  return `Signed in ${ago(at, now)}`;
}
