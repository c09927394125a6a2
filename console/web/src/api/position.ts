/**
 * Where in the tenant's log our last command stands. Reads ask for at least that, so that whoever changed something sees it.
 * It outlives a reload of the tab, and holds nothing personal. An origin is one tenant's, and so is its storage.
 */
const KEY = "tenure-position";

export function lastPosition(): string | null {
  return sessionStorage.getItem(KEY);
}

export function notePosition(position: string | null): void {
  if (position !== null) sessionStorage.setItem(KEY, position);
}

/** After a restore, or with another session, it says nothing any more. */
export function forgetPosition(): void {
  sessionStorage.removeItem(KEY);
}
