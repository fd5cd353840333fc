/**
 * The chosen thing: what it is, how it is, its traffic, its flows, the line in the file, and what belongs to it.
 */
import { html } from "../../vendor/preact.js";
import { ago, memory, place } from "../core/format.js";
import { use } from "../core/store.js";
import { openConsole } from "../lab/choose.js";
import { isUp, object, portsOf, wrongWith } from "../lab/objects.js";
import { Flows } from "./flows.js";
import { Icon } from "./icons.js";
import { Empty, Link, Loading, Panel, State } from "./parts.js";
import { traceFrom } from "./trace.js";
import { Outlets, Traffic, leadsFrom } from "./traffic.js";

const HIDDEN = new Set(["name", "status", "source", "applied", "ports", "nics"]);
const TOLD = new Set(["error", "note", "errors", "notes"]); // above, where they are seen
/** @type {Record<string, string>} fields whose value is the name of another thing → its kind */
const LINKS = { chassis: "chassis", network: "network", at: "chassis", physnet: "physnet" };

/** @param {{at: import("../core/store.js").Ref, onClose: () => void}} props */
export function Inspector({ at, onClose }) {
  const thing = use((s) => object(at, s));
  const loaded = use((s) => s.loaded);
  const leads = use((s) => [...s.outlets.keys()].some((name) => leadsFrom(at, name)));
  const title = `${at.kind} ${at.name}`;
  if (!thing) {
    const note = !loaded
      ? html`<${Loading} label="reading" />`
      : html`<${Empty} title=${`There is no ${title}`} hint="It may have been removed." />`;
    return html`<${Panel} title=${title} onClose=${onClose}>${note}<//>`;
  }
  return html`<${Panel} title=${at.name} onClose=${onClose} key=${title}>
    <div class="summary"><span class="kind">${at.kind}</span><${State} up=${isUp(at.kind, thing)} label=${phase(at.kind, thing)} />
      <span class="source mono" title=${`where the topology says so: ${thing.source}`}>${place(thing.source)}</span></div>
    <${Troubles} status=${thing.status ?? {}} />
    <${Actions} at=${at} thing=${thing} />
    <${Ports} at=${at} />
    <${Traffic} at=${at} />
    ${leads && html`<${Section} title=${at.kind === "chassis" ? "Tunnels and uplinks" : "Uplinks"}><${Outlets} at=${at} /><//>`}
    <${Fields} title="As the file says" values=${without(thing)} />
    <${Fields} title="As it is" values=${known(at.kind, thing)} />
    ${at.kind !== "test" && at.kind !== "physnet" && html`<${Flows} at=${at} key=${title} />`}
  <//>`;
}

/** @param {string} kind @param {any} thing */
function phase(kind, thing) {
  if (kind === "guest") return thing.status.phase;
  if (kind === "chassis" && thing.datapath !== "external")
    return wrongWith(thing) || (thing.datapath === "linux" ? "built" : "connected");
  return undefined;
}

/** Its status, without its ports, which are above, and what a chassis without tables, or of somebody else, has none of. @param {string} kind @param {any} thing */
function known(kind, thing) {
  const { flows, host, ports, ...rest } = thing.status ?? {};
  if (kind === "network") return { ...rest, ports }; // how many
  if (kind !== "chassis" || thing.datapath === "external") return rest;
  return thing.datapath === "linux" ? { ...rest, host } : { ...rest, flows, host };
}

/** @param {any} thing */
const without = (thing) => Object.fromEntries(Object.entries(thing).filter(([key]) => !HIDDEN.has(key)));

/** What is wrong with it, and what one should know, in the words of whoever found it. @param {{status: any}} props */
function Troubles({ status }) {
  const wrong = [status.error, status.flows?.error, ...(status.host?.errors ?? [])].filter(Boolean);
  const notes = [status.note, status.flows?.note, ...(status.host?.notes ?? [])].filter(Boolean);
  return html`${wrong.length > 0 && html`<div class="failure">${wrong.map((line) => html`<p>${line}</p>`)}</div>`}
    ${notes.length > 0 && html`<div class="notice">${notes.map((line) => html`<p>${line}</p>`)}</div>`}`;
}

/** @param {{at: import("../core/store.js").Ref, thing: any}} props */
function Actions({ at }) {
  const node = at.kind === "node" || at.kind === "guest" || at.kind === "port";
  if (!node) return null;
  return html`<div class="actions">
    ${at.kind === "guest" && html`<button onClick=${() => openConsole(at.name)}><${Icon} name="terminal" size=${16} /> Console</button>`}
    <button onClick=${() => traceFrom("from", at.name)}><${Icon} name="trace" size=${16} /> Trace from</button>
    <button onClick=${() => traceFrom("to", at.name)}>Trace to</button>
  </div>`;
}

/** The ports that belong to it. @param {{at: import("../core/store.js").Ref}} props */
function Ports({ at }) {
  use((s) => s.objects);
  if (at.kind === "port") return null;
  const by = at.kind === "guest" ? "node" : at.kind;
  if (by !== "node" && by !== "network" && by !== "chassis") return null;
  const ports = portsOf(by, at.name);
  if (!ports.length) return html`<${Section} title="Ports"><p class="soft">none</p><//>`;
  return html`<${Section} title=${`Ports (${ports.length})`}><table class="list is-ports"><tbody>${ports.map(
    (port) => html`<tr><td><${Link} kind="port" name=${port.name} short=${by === "node" ? port.name.slice(at.name.length + 1) : undefined} /></td>
      <td>${by !== "network" && html`<${Link} kind="network" name=${port.network} />`}</td><td class="mono">${port.ip.map((/** @type {string} */ ip) => html`<div>${ip}</div>`)}</td></tr>`,
  )}</tbody></table><//>`;
}

/** @param {{title: string, children?: any, open?: boolean}} props */
export const Section = ({ title, children, open = true }) =>
  html`<details class="section" open=${open}><summary>${title}</summary>${children}</details>`;

/** @param {{title: string, values: any}} props */
function Fields({ title, values }) {
  const entries = Object.entries(values).filter(([key, value]) => !isNothing(value) && !TOLD.has(key));
  if (!entries.length) return null;
  return html`<${Section} title=${title}><dl class="fields">${entries.map(
    ([key, value]) => html`<dt>${key.replaceAll("_", " ")}</dt><dd><${Value} name=${key} value=${value} /></dd>`,
  )}</dl><//>`;
}

/** @param {any} value */
const isNothing = (value) =>
  value === null || value === "" || (typeof value === "object" && !Object.keys(value).length);

/** @param {{name: string, value: any}} props */
function Value({ name, value }) {
  if (name in LINKS && typeof value === "string") return html`<${Link} kind=${LINKS[name]} name=${value} />`;
  if (name === "node") return html`<${NodeLink} name=${value} />`;
  if (name === "memory" && typeof value === "number") return memory(value);
  if (name === "started") return value ? `${ago(value * 1000)}` : "";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (name === "ports" && Array.isArray(value)) return value.map((each) => html`<${Link} kind="port" name=${each} />`);
  if (name === "physnets" && Array.isArray(value))
    return value.map((each) => html`<${Link} kind="physnet" name=${each} />`);
  if (Array.isArray(value) && value.every((each) => typeof each !== "object"))
    return html`<span class="mono">${value.join("\n")}</span>`;
  if (Array.isArray(value)) return value.map((each) => html`<${Nested} values=${each} />`);
  if (typeof value === "object") return html`<${Nested} values=${value} />`;
  return html`<span class="mono">${String(value)}</span>`;
}

/** @param {{values: any}} props */
function Nested({ values }) {
  const entries = Object.entries(values).filter(([key, value]) => !isNothing(value) && !TOLD.has(key));
  return html`<dl class="fields is-nested">${entries.map(([key, value]) => html`<dt>${key.replaceAll("_", " ")}</dt><dd><${Value} name=${key} value=${value} /></dd>`)}</dl>`;
}

/** @param {{name: string}} props */
function NodeLink({ name }) {
  const isGuest = use((s) => s.objects.guests.has(name));
  return html`<${Link} kind=${isGuest ? "guest" : "node"} name=${name} />`;
}
