/**
 * Revisions: who changed what and when, what it did, and the way back.
 */
import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { ago, clock, duration } from "../core/format.js";
import { get, list, post } from "../core/http.js";
import { use } from "../core/store.js";
import { Icon } from "./icons.js";
import { Empty, Failure, Loading } from "./parts.js";
import { Plan } from "./plan.js";

export function History() {
  const revision = use((s) => s.revision);
  const settled = use((s) => s.events.findLast((event) => event.kind === "revision.settled")?.id);
  const [found, tell] = useState(/** @type {any} */ ({}));
  const [open, setOpen] = useState(0);
  useEffect(() => {
    list("/v1/revisions?limit=100").then(
      ({ items }) => tell({ items: items.sort((a, b) => b.number - a.number) }),
      (error) => tell({ error }),
    );
  }, [revision, settled]);
  if (found.error) return html`<${Failure} error=${found.error} />`;
  if (!found.items) return html`<${Loading} label="reading the history" />`;
  if (!found.items.length)
    return html`<${Empty} title="No history yet" hint="Every change of the lab becomes a revision here." />`;
  return html`<ol class="revisions">${found.items.map(
    (/** @type {any} */ each) => html`<li key=${each.number} class=${each.number === open ? "is-open" : ""}>
    <button class="revision-head" aria-expanded=${each.number === open} onClick=${() => setOpen(each.number === open ? 0 : each.number)}>
      <span class="revision-number">${each.number}</span><span class="revision-what"><b>${each.origin || "a change"}</b>
      <span class="soft" title=${clock(each.time)}>${each.author} · ${ago(each.time)} · ${outcome(each)}</span></span><${Counts} changes=${each.changes} /></button>
    ${each.number === open && html`<${Details} revision=${each} isNow=${each.number === revision} />`}
  </li>`,
  )}</ol>`;
}

/** @param {any} revision */
function outcome(revision) {
  if (!revision.settled) return "under way";
  if (revision.errors?.length) return `${revision.errors.length} wrong`;
  return revision.seconds === null || revision.seconds === undefined
    ? "confirmed"
    : `confirmed in ${duration(revision.seconds)}`;
}

/** Of all kinds together; which they are is in the title. @param {{changes: any}} props */
function Counts({ changes }) {
  const sum = (/** @type {string} */ how) => Object.values(changes).reduce((total, each) => total + each[how], 0);
  const [add, change, remove] = ["added", "changed", "removed"].map(sum);
  return html`<span class="counts" title=${Object.keys(changes).join(", ")}>${add > 0 && html`<b class="good">+${add}</b>`}${change > 0 && html`<b class="warn">~${change}</b>`}${remove > 0 && html`<b class="bad">−${remove}</b>`}</span>`;
}

/** @param {{revision: any, isNow: boolean}} props */
function Details({ revision, isNow }) {
  const [asks, ask] = useState(false);
  const [found, tell] = useState(/** @type {any} */ ({}));
  useEffect(() => {
    get(`/v1/revisions/${revision.number}/plan`).then(
      (answer) => tell({ plan: answer.plan ?? answer }),
      (error) => tell({ error }),
    );
  }, [revision.number]);
  return html`<div class="revision-details">
    ${revision.errors?.map((/** @type {string} */ line) => html`<p class="bad">${line}</p>`)}
    ${!found.plan && !found.error && html`<${Loading} label="making its plan" />`}
    <${Failure} error=${found.error} />
    ${found.plan && html`<${Plan} plan=${found.plan} />`}
    ${!isNow && !asks && html`<button onClick=${() => ask(true)}><${Icon} name="undo" size=${14} /> Roll back to ${revision.number}…</button>`}
    ${asks && html`<${RollBack} to=${revision.number} onDone=${() => ask(false)} />`}
  </div>`;
}

/** Asks before it does it. @param {{to: number, onDone: () => void}} props */
function RollBack({ to, onDone }) {
  const [status, tell] = useState(/** @type {any} */ ({}));
  const place = useRef(/** @type {any} */ (null));
  useEffect(() => {
    place.current.scrollIntoView({ block: "nearest" });
    place.current.querySelector("button").focus();
  }, []);
  const roll = async () => {
    tell({ pending: true });
    try {
      await post("/v1/rollback?wait=applied", { revision: to });
      onDone();
    } catch (error) {
      tell({ error });
    }
  };
  return html`<div class="confirm" ref=${place} role="alertdialog" aria-label=${`roll back to revision ${to}`}>
    <p>The lab becomes what it was at revision <b>${to}</b>. What came after stays in the history.</p>
    <${Failure} error=${status.error} />
    ${status.pending ? html`<${Loading} label="rolling back" />` : html`<button class="danger" onClick=${roll}>Roll back to ${to}</button> <button onClick=${onDone}>Keep it as it is</button>`}
  </div>`;
}
