/**
 * Traffic: rates from the counters that the switches have.
 *
 * Enters: GET /v1/counters/stream, every second while somebody looks. Leaves: the store's `rates`, by interface
 * (node:interface), which the ports of a trunk share, and `outlets`, by a chassis' tunnel port or uplink. Never: a
 * stream while the page is hidden: the server asks the switches only for those who look.
 */
import { follow } from "../core/sse.js";
import { set, state } from "../core/store.js";

const REMEMBERED = 60; // samples of a sparkline

/**
 * @typedef {Record<string, number>} Totals  rx_bytes, tx_packets, rx_dropped, …: as the node sees it
 * @typedef {object} Rate  in bytes per second
 * @property {number} received
 * @property {number} sent
 * @property {number[]} history  both together, the newest last
 * @property {Totals} totals
 */

/** @returns {() => void} ends it */
export function followCounters() {
  let end = () => {};
  const look = () => {
    end();
    end = document.hidden ? () => {} : follow("/v1/counters/stream", { onEvent: take, onState: () => {} });
  };
  look();
  document.addEventListener("visibilitychange", look);
  return () => (document.removeEventListener("visibilitychange", look), end());
}

/** The first event has all totals; the others rates too, and only what has changed. @param {{data: string}} told */
function take(told) {
  const { columns, ports, tunnels, uplinks, down } = JSON.parse(told.data);
  set({
    rates: followed(state.rates, columns, ports),
    outlets: followed(state.outlets, columns, { ...tunnels, ...uplinks }),
    outletsDown: new Set(down),
  });
}

/** What is not told of has not changed. @param {Map<string, Rate>} known @param {string[]} columns @param {Record<string, number[]>} rows */
function followed(known, columns, rows) {
  /** @type {Map<string, Rate>} */
  const rates = new Map();
  for (const [name, rate] of known) rates.set(name, next(rate, rate.totals, 0, 0));
  for (const [name, row] of Object.entries(rows)) {
    const totals = Object.fromEntries(columns.map((column, i) => [column, row[i]]));
    rates.set(name, next(known.get(name), totals, totals.rx_bytes_rate ?? 0, totals.tx_bytes_rate ?? 0));
  }
  return rates;
}

/** @param {Rate|undefined} rate @param {Totals} totals @param {number} received @param {number} sent @returns {Rate} */
function next(rate, totals, received, sent) {
  return { received, sent, totals, history: [...(rate?.history ?? []), received + sent].slice(-REMEMBERED) };
}

/** What is counted for a port: its interface. @param {any} port of the REST API */
export const interfaceOf = (port) => `${port.node}:${port.interface}`;

/** @param {any} port of the REST API @param {typeof state} [from] */
export const rateOf = (port, from = state) => from.rates.get(interfaceOf(port));
