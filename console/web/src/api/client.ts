import createClient, { type Middleware } from "openapi-fetch";

import type { paths as Commands } from "./commands";
import { forgetPosition, lastPosition, notePosition } from "./position";
import { OFFLINE, Problem, problemOf } from "./problem";
import type { paths as Queries } from "./queries";

/** How long the query API waits for our last command before it answers that it is behind. */
const WAIT_SECONDS = 5;
/** Until an answer has begun. The console's backend gives up a little earlier. */
const PATIENCE_MS = 70_000;

/** `fetch`, at this origin only; a lost network is a problem like any other. */
async function ask(request: Request): Promise<Response> {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  try {
    return await fetch(request, { signal: AbortSignal.any([request.signal, patience]) });
  } catch (error) {
    if (request.signal.aborted) throw error;
    throw new Problem(0, OFFLINE, "");
  }
}

const ours: Middleware = {
  onRequest({ request }) {
    // Only pages of this origin can set it: the backend takes nothing without.
    request.headers.set("tenure-console", "1");
    return request;
  },
  async onResponse({ response }) {
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (problem.code === "history_restored") forgetPosition();
    throw problem;
  },
};

const fresh: Middleware = {
  onRequest({ request }) {
    const position = lastPosition();
    if (request.method === "GET" && position !== null) {
      request.headers.set("tenure-min-position", position);
      request.headers.set("prefer", `wait=${WAIT_SECONDS}`);
    }
    return request;
  },
};

const noting: Middleware = {
  onResponse({ response, request }) {
    if (response.ok && request.method === "POST") notePosition(response.headers.get("tenure-position"));
    return response;
  },
};

const options = { baseUrl: globalThis.location?.origin ?? "http://localhost", fetch: ask };

/** The command API, log-in's kin and users included. */
export const commands = createClient<Commands>(options);
commands.use(ours, noting);

/** The query API. */
export const queries = createClient<Queries>(options);
queries.use(ours, fresh);

/** The answer's data. What is no success was thrown before. */
export async function data<T>(answer: Promise<{ data?: T }>): Promise<T> {
  return (await answer).data as T;
}

/** `/session`, which is the console's own. */
export async function session(method: "GET" | "POST" | "DELETE", body?: object): Promise<Response> {
  const headers: Record<string, string> = { "tenure-console": "1" };
  if (body) headers["content-type"] = "application/json";
  const request = new Request(`${options.baseUrl}/session`, { method, headers, body: body ? JSON.stringify(body) : null });
  const response = await ask(request);
  if (!response.ok) throw await problemOf(response);
  return response;
}
