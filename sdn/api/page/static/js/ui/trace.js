/**
 * Trace: a packet is sent through the tables, and the picture shows its way.
 *
 * Enters: from, to, protocol. Leaves: the store's `trace`, which the picture draws. Never: a real packet.
 */
import { html } from "../../vendor/preact.js";
import { post } from "../core/http.js";
import { set, state, use } from "../core/store.js";
import { select } from "../lab/choose.js";
import { Icon } from "./icons.js";
import { Empty, Failure, Field, Loading } from "./parts.js";

const PROTOCOLS = ["icmp", "arp", "tcp/22", "tcp/80", "tcp/443", "tcp/5432", "udp/53", "udp/67"];

/** @param {Partial<typeof state.trace>} change */
const update = (change) => set({ trace: { ...state.trace, ...change } });

/** @param {"from"|"to"|"protocol"} end @param {string} value */
const ask = (end, value) => update({ request: { ...state.trace.request, [end]: value } });

/** Opens the form with one end filled in. @param {"from"|"to"} end @param {string} name */
export function traceFrom(end, name) {
  ask(end, name);
  set({ view: "trace" });
  const { from, to } = state.trace.request;
  if (from && to) run();
}

async function run() {
  update({ pending: true, error: null, hop: -1 });
  try {
    update({ result: await post("/v1/trace", state.trace.request), pending: false });
  } catch (error) {
    update({ result: null, error, pending: false });
  }
}

/** @param {Event} event */
function submit(event) {
  event.preventDefault();
  run();
}

export function Trace() {
  const { request, result, error, pending } = use((s) => s.trace);
  const objects = use((s) => s.objects);
  const ends = [...objects.nodes.keys(), ...objects.guests.keys(), ...objects.ports.keys()];
  const type = (/** @type {"from"|"to"|"protocol"} */ end) => (/** @type {any} */ event) =>
    ask(end, event.target.value);
  return html`<form class="form" onSubmit=${submit}>
      <div class="form-row"><${Field} id="trace-from" label="From" placeholder="node or port" value=${request.from} options=${ends} onInput=${type("from")} required />
        <button type="button" class="icon-button" aria-label="swap" title="the other way round" onClick=${() => update({ request: { ...request, from: request.to, to: request.from } })}><${Icon} name="swap" /></button>
        <${Field} id="trace-to" label="To" placeholder="node, port or address" value=${request.to} options=${ends} onInput=${type("to")} required /></div>
      <div class="form-row"><${Field} id="trace-protocol" label="Protocol" value=${request.protocol} options=${PROTOCOLS} onInput=${type("protocol")} required />
        <button class="primary" disabled=${pending}>Trace</button></div>
    </form>
    ${pending && html`<${Loading} label="following the packet" />`}
    <${Failure} error=${error} />
    ${result && html`<${Result} result=${result} />`}
    ${!result && !error && !pending && html`<${Empty} title="Where would a packet go?" hint="Choose two ends: the tables of every chassis on the way are run, and the picture shows the path." />`}`;
}

/** @param {{result: any}} props */
function Result({ result }) {
  const current = use((s) => s.trace.hop);
  return html`<p class=${`verdict ${result.reached ? "is-good" : "is-bad"}`} role="status" id="verdict">${result.verdict}</p>
    <ol class="hops">${result.hops.map(
      (
        /** @type {any} */ hop,
        /** @type {number} */ i,
      ) => html`<li class=${i === current ? "is-current" : ""} onMouseEnter=${() => update({ hop: i })} onMouseLeave=${() => update({ hop: -1 })}>
        <h3><span class="hop-number">${i + 1}</span><button class="link" onClick=${() => select({ kind: "chassis", name: hop.chassis })}>${hop.chassis}</button>
          <span class="soft">in by ${hop.in_port}</span></h3>
        ${hop.realised_by && html`<p class="soft">${hop.realised_by}</p>`}
        ${hop.unread && html`<p class="warn">as it shall be, for it does not say: ${hop.unread}</p>`}
        <ol class="tables">${hop.steps.map((/** @type {any} */ step) => html`<${Step} step=${step} />`)}</ol>
        ${hop.outputs.map((/** @type {string} */ output) => html`<p class="leaves good">→ ${output}</p>`)}
        ${!hop.outputs.length && html`<p class="leaves bad">■ ${hop.ended}</p>`}
      </li>`,
    )}</ol>`;
}

/** Of the path of the file its last part. @param {string} about */
const shortened = (about) => about.replace(/\(.*\//, "(");

/** @param {{step: any}} props */
const Step = ({
  step,
}) => html`<li><details><summary><span class="table">${step.table}</span> <span class=${step.foreign ? "about warn" : "about"} title=${step.about}>${shortened(step.about) || "no flow matches"}</span></summary>
  <code>${step.flow}</code>${step.changes.length > 0 && html`<code class="does">${step.changes.join("\n")}</code>`}</details></li>`;
