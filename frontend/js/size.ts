// Sizes as the pages write them, as `app/src/size.rs`. Pure.

/** `512 bytes`, `812 MB`, `3.1 GB`: of 1024, as limits are given. */
export function bytes(count: number): string {
  const units = ['kB', 'MB', 'GB', 'TB'];
  if (count < 1024) return count === 1 ? '1 byte' : `${Math.round(count)} bytes`;
  let at = 0;
  let value = count / 1024;
  while (value >= 1024 && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  const tenths = Math.round(value * 10);
  return `${tenths >= 100 ? Math.round(value) : tenths / 10} ${units[at]}`;
}
