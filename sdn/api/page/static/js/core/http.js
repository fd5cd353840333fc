/**
 * Requests to the REST API.
 *
 * Enters: a method, a path, a body. Leaves: the answer's JSON or text, or a Problem that says what the server said
 * (RFC 9457). Never: a retry; whoever asks decides. A 401 opens the prompt for a token.
 */
import { set } from "./store.js";

/** What went wrong, in the server's words. */
export class Problem extends Error {
  /** @param {{status?: number, type?: string, title?: string, detail?: string, remedy?: string, errors?: any[]}} body */
  constructor(body) {
    super(body.detail || body.title || "something went wrong");
    this.status = body.status ?? 0;
    this.kind = (body.type || "").replace("urn:sdn:problem:", "");
    this.remedy = body.remedy || "";
    /** @type {{pointer?: string, file?: string, line?: number, column?: number, message: string}[]} */
    this.errors = body.errors || [];
  }
}

/**
 * @param {string} path
 * @param {{method?: string, json?: any, text?: string, type?: string, headers?: Record<string, string>, signal?: AbortSignal}} [how]
 * @returns {Promise<Response>} of a request that succeeded
 */
export async function request(path, how = {}) {
  const headers = new Headers(how.headers);
  const body = how.json !== undefined ? JSON.stringify(how.json) : how.text;
  if (body !== undefined) headers.set("Content-Type", how.type || "application/json");
  let answer;
  try {
    answer = await fetch(path, {
      method: how.method || "GET",
      headers,
      body,
      signal: how.signal,
      cache: "no-cache",
    });
  } catch (error) {
    if (how.signal?.aborted) throw error;
    throw new Problem({ status: 0, detail: "the server does not answer", remedy: "is the lab up? sdn status" });
  }
  if (answer.ok) return answer;
  const problem = await problemOf(answer);
  if (answer.status === 401) set({ dialog: "token", connection: "denied" });
  throw problem;
}

/** @param {Response} answer */
async function problemOf(answer) {
  try {
    return new Problem({ status: answer.status, ...(await answer.json()) });
  } catch {
    return new Problem({
      status: answer.status,
      detail: `the server answered ${answer.status} ${answer.statusText}`,
    });
  }
}

/** @param {string} path @param {AbortSignal} [signal] */
export async function get(path, signal) {
  return (await request(path, { signal })).json();
}

/** @param {string} path @param {any} json */
export async function post(path, json) {
  const answer = await request(path, { method: "POST", json });
  return answer.status === 204 ? null : answer.json();
}

/** All pages of a collection. @param {string} path */
export async function list(path) {
  const items = [];
  let revision = 0;
  for (let next = /** @type {string|null} */ (path); next;) {
    const page = await get(next);
    items.push(...page.items);
    revision = page.revision ?? revision;
    next = page.next ?? null;
  }
  return { items, revision };
}
