// What browsers keep to secure contexts, so that it works, or says that it does not, over plain HTTP from another machine as well.

/** A name that nothing else has: `crypto.randomUUID` is not there. */
export function randomId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Puts text into the clipboard; whether that worked: `navigator.clipboard` is not there, or may be forbidden. */
export async function copy(text: string): Promise<boolean> {
  return (await navigator.clipboard?.writeText(text).then(() => true, () => false)) ?? false;
}
