import { expect, it } from "vitest";

import { concernsTenant, endsSession, problemOf } from "./problem";

const answer = (status: number, body: unknown, headers: Record<string, string> = {}) =>
  new Response(typeof body === "string" ? body : JSON.stringify(body), { status, headers });

it("reads a problem document with its fields, and when to come again", async () => {
  const errors = [{ pointer: "/pay/rate/amount", code: "invalid_field", detail: "must be positive" }];
  const problem = await problemOf(answer(503, { error: "projection_behind", detail: "3 events", errors }, { "retry-after": "2" }));
  expect(problem).toMatchObject({ status: 503, code: "projection_behind", detail: "3 events", fields: errors, retryAfter: 2 });
  expect(problem.passes).toBe(true);
});

it("makes do with what is no problem document", async () => {
  for (const body of ["<html>502</html>", "", "null", "[1]", '{"error": 5, "errors": "x"}']) {
    expect(await problemOf(answer(502, body))).toMatchObject({ status: 502, code: "unreadable_answer", fields: [], retryAfter: null });
  }
});

it("tells what ends a session from what concerns the tenant, and both from what is the page's own", async () => {
  const of = async (status: number, error: string) => {
    const problem = await problemOf(answer(status, { error }));
    return [endsSession(problem), concernsTenant(problem), problem.passes];
  };
  expect(await of(401, "session_ended")).toEqual([true, false, false]);
  expect(await of(403, "tenant_mismatch")).toEqual([true, false, false]);
  expect(await of(403, "forbidden")).toEqual([false, false, false]);
  expect(await of(403, "tenant_suspended")).toEqual([false, true, false]);
  expect(await of(402, "subscription_expired")).toEqual([false, true, false]);
  expect(await of(404, "tenant_not_found")).toEqual([false, true, false]);
  expect(await of(404, "not_found")).toEqual([false, false, false]);
  expect(await of(503, "tenant_not_ready")).toEqual([false, true, true]);
  expect(await of(429, "rate_limited")).toEqual([false, false, true]);
  expect(await of(412, "precondition_failed")).toEqual([false, false, false]);
});
