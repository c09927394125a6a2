import { QueryCache, QueryClient } from "@tanstack/react-query";
import { useSyncExternalStore } from "react";

import { forgetPosition } from "../api/position";
import { concernsTenant, endsSession, Problem } from "../api/problem";

/** What holds for the console as a whole, whichever page is open. */
export type Status = {
  /** Why the session ended; null as long as it has not. */
  ended: Problem | null;
  /** Why the tenant is not served. */
  tenant: Problem | null;
};

let status: Status = { ended: null, tenant: null };
const listeners = new Set<() => void>();

export function setStatus(change: Partial<Status>): void {
  status = { ...status, ...change };
  for (const listener of listeners) listener();
}

export function useStatus(): Status {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => status,
  );
}

/** Looks whether a problem is more than the page's own. */
export function note(error: unknown): void {
  if (!(error instanceof Problem)) return;
  if (endsSession(error)) {
    forgetPosition();
    // Nothing of this session is to be seen by the next one.
    queryClient.clear();
    setStatus({ ended: error, tenant: null });
  } else if (concernsTenant(error)) {
    setStatus({ tenant: error });
  }
}

const TRIES = 5;

/** What passes by itself is tried again, as long after as Tenure says, and a little apart from everybody else. */
export function retries(failures: number, error: unknown): boolean {
  return error instanceof Problem && error.passes && !concernsTenant(error) && failures < TRIES;
}

export function retryDelay(failures: number, error: unknown): number {
  const told = error instanceof Problem ? error.retryAfter : null;
  const seconds = told ?? Math.min(2 ** failures, 20);
  return seconds * 1000 * (1 + Math.random() / 4);
}

export const queryClient: QueryClient = new QueryClient({
  queryCache: new QueryCache({ onError: note }),
  defaultOptions: {
    queries: { retry: retries, retryDelay, staleTime: 15_000, refetchOnWindowFocus: true, networkMode: "always" },
    mutations: { retry: false, networkMode: "always" },
  },
});
