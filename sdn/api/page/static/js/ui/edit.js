/**
 * The topology as a document: edit it, see the plan, apply it.
 *
 * Enters: GET /v1/topology. Leaves: PUT /v1/topology, as a dry run for the plan, then for real. Never: an apply of what
 * has not been planned, or over a change that somebody else has made since (If-Match).
 */
import { html, useEffect, useState } from "../../vendor/preact.js";
import { duration } from "../core/format.js";
import { request } from "../core/http.js";
import { use } from "../core/store.js";
import { Editor } from "./editor.js";
import { Failure, Loading } from "./parts.js";
import { isEmpty, Plan } from "./plan.js";

/** What is being edited outlives the view: it is not lost by a look at the events. */
const draft = { text: "", original: "", revision: 0, etag: "", read: false };

const YAML = "application/yaml";

/** @param {boolean} dry */
async function put(dry) {
  const headers = { "If-Match": draft.etag, Accept: "application/json" };
  const path = `/v1/topology?${dry ? "dry_run=true" : "wait=whole"}`;
  return (await request(path, { method: "PUT", text: draft.text, type: YAML, headers })).json();
}

async function read() {
  const answer = await request("/v1/topology", { headers: { Accept: YAML } });
  const text = await answer.text();
  Object.assign(draft, {
    text,
    original: text,
    revision: Number(answer.headers.get("Sdn-Revision")),
    etag: answer.headers.get("ETag") ?? "*",
    read: true,
  });
}

export function Edit() {
  const revision = use((s) => s.revision);
  const [phase, setPhase] = useState(/** @type {any} */ ({ at: draft.read ? "idle" : "reading" }));
  const [, redraw] = useState(0);
  const doing = async (/** @type {string} */ at, /** @type {() => Promise<any>} */ work) => {
    setPhase({ at });
    try {
      setPhase(await work());
    } catch (error) {
      setPhase({ at: "idle", error });
    }
  };
  const reread = () => doing("reading", async () => (await read(), { at: "idle" }));
  useEffect(() => {
    if (!draft.read || draft.text === draft.original) reread();
  }, []);
  const plan = () => doing("planning", async () => ({ at: "planned", plan: planOf(await put(true)) }));
  const apply = () =>
    doing("applying", async () => {
      const done = await put(false);
      await read();
      return { at: "applied", done };
    });
  const typed = (/** @type {string} */ text) => {
    draft.text = text;
    if (phase.at !== "idle" || phase.error) setPhase({ at: "idle" });
    redraw((/** @type {number} */ n) => n + 1);
  };
  const changed = draft.text !== draft.original;
  const stale = draft.read && revision > draft.revision;
  const mistakes = phase.error?.errors ?? [];
  return html`<div class="edit"><div class="form-row is-bar">
      <button class=${phase.at === "planned" ? "" : "primary"} onClick=${plan} disabled=${!changed || phase.at === "planning" || phase.at === "applying"} id="plan" title="Ctrl+Enter">Plan</button>
      <button class="primary" onClick=${apply} disabled=${phase.at !== "planned" || isEmpty(phase.plan)} id="apply">Apply</button>
      <button onClick=${reread} disabled=${phase.at === "applying"} title="gives up what was typed here">Reload</button>
      <span class="soft">${changed ? "changed" : draft.read ? `revision ${draft.revision}` : ""}</span></div>
    ${stale && html`<p class="notice">The lab is at revision ${revision} by now; this text was made from ${draft.revision}. <button class="link" onClick=${reread}>Reload</button></p>`}
    <${Editor} text=${draft.text} mistakes=${mistakes} onInput=${typed} onSave=${plan} />
    <div class="edit-result" aria-live="polite">
      ${phase.at === "reading" && html`<${Loading} label="reading the topology" />`}
      ${phase.at === "planning" && html`<${Loading} label="planning" />`}
      ${phase.at === "applying" && html`<${Loading} label="applying: flows and hosts confirm it" />`}
      ${!mistakes.length && html`<${Failure} error=${phase.error} />`}
      ${phase.at === "planned" && html`<${Plan} plan=${phase.plan} />`}
      ${phase.at === "applied" && html`<${Applied} done=${phase.done} />`}
    </div></div>`;
}

/** @param {any} answer */
const planOf = (answer) => answer.plan ?? answer;

/** @param {{done: any}} props */
function Applied({ done }) {
  const { seconds, missing = [] } = done.applied ?? {};
  if (missing.length)
    return html`<div class="failure" role="alert"><p class="failure-title">Stored as revision ${done.revision}, but not confirmed in time</p>${missing.map((/** @type {string} */ line) => html`<p>${line}</p>`)}</div>`;
  return html`<p class="verdict is-good" role="status" id="applied">Applied: revision ${done.revision}${seconds !== undefined && html`, whole after ${duration(seconds)}`}.</p>`;
}
