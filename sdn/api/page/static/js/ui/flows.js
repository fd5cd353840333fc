/**
 * The flows that are there because of the chosen thing, with their counters, read again while they are shown.
 */
import { html, useEffect, useState } from "../../vendor/preact.js";
import { count, scaled } from "../core/format.js";
import { get } from "../core/http.js";
import { Failure, Loading } from "./parts.js";

const AGAIN = 3000; // milliseconds
const MOST = 200; // flows that are shown

/** @param {{at: import("../core/store.js").Ref}} props */
export function Flows({ at }) {
  const [open, setOpen] = useState(false);
  const [found, tell] = useState(/** @type {any} */ ({ flows: null, error: null }));
  useEffect(() => (open ? readOften(at, tell) : undefined), [open, at.kind, at.name]);
  return html`<details class="section" id="flows" onToggle=${(/** @type {any} */ event) => setOpen(event.currentTarget.open)}>
    <summary>Flows${found.flows && ` (${count(found.flows.length)}${found.more ? " and more" : ""})`}</summary>
    ${open && !found.flows && !found.error && html`<${Loading} label="asking the switches" />`}
    <${Failure} error=${found.error} />
    ${found.missing?.map((/** @type {string} */ why) => html`<p class="soft">${why}</p>`)}
    ${found.flows?.length === 0 && !found.missing.length && html`<p class="soft">none: nothing on a switch is there because of it alone</p>`}
    ${found.flows?.length > 0 && html`<ol class="flows">${found.flows.map((/** @type {any} */ flow) => html`<${Flow} flow=${flow} />`)}</ol>`}
  </details>`;
}

/** @param {{flow: any}} props */
const Flow = ({ flow }) => html`<li class=${flow.packets ? "" : "is-unused"}>
  <div class="flow-head"><span class="table">${flow.table}</span><span class="soft">${flow.chassis} · ${flow.priority}</span>
    <span class="packets" title=${`${count(flow.packets)} packets, ${count(flow.bytes)} bytes`}>${scaled(flow.packets, "p")}</span></div>
  <code>${flow.match || "any"}</code><code class="does">→ ${flow.actions || "drop"}</code></li>`;

/** @param {import("../core/store.js").Ref} at @param {(found: any) => void} tell */
function readOften(at, tell) {
  let timer = 0;
  let ended = false;
  const read = async () => {
    const kind = at.kind === "guest" ? "node" : at.kind;
    try {
      const { items, next, missing } = await get(`/v1/flows?${kind}=${encodeURIComponent(at.name)}&limit=${MOST}`);
      if (!ended) tell({ flows: items, more: next !== null, missing: Object.values(missing ?? {}), error: null });
    } catch (error) {
      if (!ended) tell({ flows: null, error });
    }
    if (!ended) timer = setTimeout(read, AGAIN);
  };
  read();
  return () => {
    ended = true;
    clearTimeout(timer);
  };
}
