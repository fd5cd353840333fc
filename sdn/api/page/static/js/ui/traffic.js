/**
 * Traffic of the chosen thing, as it is now and over the last minute.
 */
import { html } from "../../vendor/preact.js";
import { bytes, count, rate } from "../core/format.js";
import { use } from "../core/store.js";
import { interfaceOf } from "../lab/counters.js";
import { object, portsOf } from "../lab/objects.js";
import { Sparkline } from "./parts.js";

/** @param {{at: import("../core/store.js").Ref}} props */
export function Traffic({ at }) {
  const rates = use((s) => s.rates);
  const known = [...new Set(portsFor(at).map(interfaceOf))]
    .map((name) => rates.get(name))
    .filter((each) => each !== undefined);
  if (!known.length) return null;
  const sum = (/** @type {(rate: any) => number} */ of) => known.reduce((total, each) => total + of(each), 0);
  const length = Math.max(...known.map((each) => each.history.length));
  const history = Array.from({ length }, (_, i) => sum((each) => each.history[each.history.length - length + i] ?? 0));
  const drops = sum(({ totals }) => totals.rx_dropped + totals.tx_dropped);
  return html`<section class="traffic-box" aria-label="traffic">
    <${Sparkline} values=${history} label=${`traffic of the last minute: now ${rate(history.at(-1) ?? 0)}`} />
    <div class="traffic-now"><span title="sent by the node">↑ <b>${rate(sum((each) => each.sent))}</b></span><span title="received by the node">↓ <b>${rate(sum((each) => each.received))}</b></span></div>
    <div class="soft">sent ${bytes(sum(({ totals }) => totals.tx_bytes))} in ${count(sum(({ totals }) => totals.tx_packets))} packets, received ${bytes(sum(({ totals }) => totals.rx_bytes))} in ${count(sum(({ totals }) => totals.rx_packets))}${drops > 0 && html`, <b class="bad">${count(drops)} dropped</b>`}</div>
  </section>`;
}

/** What leads out of a chassis, or into a physical network, as chassis count it. @param {{at: import("../core/store.js").Ref}} props */
export function Outlets({ at }) {
  const outlets = use((s) => s.outlets);
  const down = use((s) => s.outletsDown);
  const known = [...outlets].filter(([name]) => leadsFrom(at, name));
  return html`<table class="list outlets" aria-label="tunnels and uplinks"><tbody>${known.map(
    ([name, { sent, received, totals }]) => html`<tr>
      <td class="mono">${name}${down.has(name) && html` <b class="bad">no carrier</b>`}</td>
      <td class="number" title=${`sent by the chassis: ${bytes(totals.tx_bytes)} in ${count(totals.tx_packets)} packets`}>↑ ${rate(sent)}</td>
      <td class="number" title=${`received by the chassis: ${bytes(totals.rx_bytes)} in ${count(totals.rx_packets)} packets`}>↓ ${rate(received)}</td></tr>`,
  )}</tbody></table>`;
}

/** @param {import("../core/store.js").Ref} at @param {string} outlet */
export function leadsFrom(at, outlet) {
  if (at.kind === "physnet") return outlet.endsWith(`--${at.name}`);
  return at.kind === "chassis" && (outlet.startsWith(`${at.name}:`) || outlet.startsWith(`${at.name}--`));
}

/** @param {import("../core/store.js").Ref} at @returns {any[]} */
function portsFor(at) {
  if (at.kind === "port") return [object(at)].filter(Boolean);
  if (at.kind === "node" || at.kind === "guest") return portsOf("node", at.name);
  return at.kind === "network" || at.kind === "chassis" ? portsOf(at.kind, at.name) : [];
}
