/**
 * Traffic of the chosen thing, as it is now and over the last minute.
 */
import { html } from "../../vendor/preact.js";
import { bytes, count, rate } from "../core/format.js";
import { use } from "../core/store.js";
import { portsOf } from "../lab/objects.js";
import { Sparkline } from "./parts.js";

/** @param {{at: import("../core/store.js").Ref}} props */
export function Traffic({ at }) {
  const rates = use((s) => s.rates);
  const names = portNames(at);
  const known = names.map((name) => rates.get(name)).filter((each) => each !== undefined);
  if (!known.length) return null;
  const sum = (/** @type {(rate: any) => number} */ of) => known.reduce((total, each) => total + of(each), 0);
  const length = Math.max(...known.map((each) => each.history.length));
  const history = Array.from({ length }, (_, i) => sum((each) => each.history[each.history.length - length + i] ?? 0));
  const drops = sum(({ totals }) => (totals.rx_dropped ?? 0) + (totals.tx_dropped ?? 0));
  return html`<section class="traffic-box" aria-label="traffic">
    <${Sparkline} values=${history} label=${`traffic of the last minute: now ${rate(history.at(-1) ?? 0)}`} />
    <div class="traffic-now"><span title="sent by the node">↑ <b>${rate(sum((each) => each.sent))}</b></span><span title="received by the node">↓ <b>${rate(sum((each) => each.received))}</b></span></div>
    <div class="soft">sent ${bytes(sum(({ totals }) => totals.rx_bytes))} in ${count(sum(({ totals }) => totals.rx_packets))} packets, received ${bytes(sum(({ totals }) => totals.tx_bytes))} in ${count(sum(({ totals }) => totals.tx_packets))}${drops > 0 && html`, <b class="bad">${count(drops)} dropped</b>`}</div>
  </section>`;
}

/** @param {import("../core/store.js").Ref} at @returns {string[]} */
function portNames({ kind, name }) {
  if (kind === "port") return [name];
  if (kind === "node" || kind === "guest") return portsOf("node", name).map((port) => port.name);
  if (kind === "network" || kind === "chassis") return portsOf(kind, name).map((port) => port.name);
  return [];
}
