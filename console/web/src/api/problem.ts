/** What is wrong with one field of what was sent (RFC 6901 pointer). */
export type FieldProblem = { pointer: string; code: string; detail: string };

/** A refusal, a conflict or a breakage as Tenure answers it (RFC 9457), or that nobody answered. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly fields: FieldProblem[] = [],
    /** Seconds until it is worth another try. */
    readonly retryAfter: number | null = null,
  ) {
    super(code);
    this.name = "Problem";
  }

  /** Whether the same request may succeed later without anybody's doing. */
  get passes(): boolean {
    return this.status === 0 || this.status === 429 || this.status === 503;
  }
}

/** Nobody answered: no network, or the console is away. */
export const OFFLINE = "offline";

/** What ends the session, wherever it comes up. */
export function endsSession(problem: Problem): boolean {
  return problem.status === 401 || problem.code === "tenant_mismatch";
}

/** What holds for the whole tenant, so that no page can do anything about it. */
export function concernsTenant(problem: Problem): boolean {
  return ["tenant_not_found", "tenant_not_ready", "tenant_suspended", "tenant_missing", "subscription_expired"].includes(problem.code);
}

/** Reads an answer that is no success. What is no problem document is told by its status alone. */
export async function problemOf(response: Response): Promise<Problem> {
  const seconds = Number(response.headers.get("retry-after"));
  const retryAfter = Number.isFinite(seconds) && seconds > 0 ? seconds : null;
  const document: unknown = await response.json().catch(() => null);
  const told = typeof document === "object" && document !== null ? (document as Record<string, unknown>) : {};
  const text = (value: unknown) => (typeof value === "string" ? value : "");
  const fields = Array.isArray(told["errors"]) ? (told["errors"] as FieldProblem[]) : [];
  return new Problem(response.status, text(told["error"]) || "unreadable_answer", text(told["detail"]), fields, retryAfter);
}
