/**
 * Where in the tenant's log our last command stands. Reads ask for at least that, so that whoever changed something sees it.
 * The tab's storage keeps it over a reload. A position is nothing personal, and the storage is the origin's, which is one tenant's.
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
