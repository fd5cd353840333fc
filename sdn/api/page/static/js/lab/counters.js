/**
 * Traffic: rates from the counters that the switches have.
 *
 * Enters: GET /v1/counters, totals by port every second or so, while somebody looks. Leaves: the store's `rates`. Never:
 * a stream while the page is hidden: the server asks the switches only for those who look.
 */
import { follow } from "../core/sse.js";
import { set, state } from "../core/store.js";

const REMEMBERED = 60; // samples of a sparkline

/**
 * @typedef {object} Rate  of a port, in bytes per second as its node sees it
 * @property {number} received
 * @property {number} sent
 * @property {number[]} history  both together, the newest last
 * @property {any} totals
 */

/** @type {Map<string, {time: number, totals: any}>} */
const before = new Map();

/** @returns {() => void} ends it */
export function followCounters() {
  let end = () => {};
  const look = () => {
    end();
    end = document.hidden ? () => {} : follow("/v1/counters", { onEvent: take, onState: () => {} });
  };
  look();
  document.addEventListener("visibilitychange", look);
  return () => (document.removeEventListener("visibilitychange", look), end());
}

/** @param {{data: string}} told */
function take(told) {
  const { time, ports } = JSON.parse(told.data);
  if (!ports) return;
  const rates = new Map(state.rates);
  for (const [name, totals] of Object.entries(ports)) {
    const last = before.get(name);
    before.set(name, { time, totals });
    if (last && time > last.time) rates.set(name, between(rates.get(name), last.totals, totals, time - last.time));
  }
  set({ rates });
}

/** What the switch receives on a port, its node has sent. @param {Rate|undefined} rate @param {any} old @param {any} now @param {number} seconds */
function between(rate, old, now, seconds) {
  const sent = Math.max(0, now.rx_bytes - old.rx_bytes) / seconds;
  const received = Math.max(0, now.tx_bytes - old.tx_bytes) / seconds;
  const history = [...(rate?.history ?? []), sent + received].slice(-REMEMBERED);
  return { received, sent, history, totals: now };
}
