// Small choices that this browser remembers. Nothing about visitors, and
// nothing that the page needs.

export function recall(name: string): string | null {
  try {
    return localStorage.getItem(`halfmask.${name}`);
  } catch {
    return null;
  }
}

export function remember(name: string, value: string): void {
  try {
    localStorage.setItem(`halfmask.${name}`, value);
  } catch {
    // Storage may be full or forbidden; the choice then lasts as long as the page.
  }
}
