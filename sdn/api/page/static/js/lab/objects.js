/**
 * The lab's objects, as the REST API has them, kept fresh.
 *
 * Enters: kinds of objects that have changed. Leaves: the store's `objects`, `revision`, `lab`. Never: two requests for
 * one kind at a time; a storm of events costs one reading per kind and GATHER.
 */
import { get, list } from "../core/http.js";
import { KINDS, set, state } from "../core/store.js";

/** @typedef {import("../core/store.js").Kind} Kind */

const GATHER = 200; // milliseconds

/** @type {Record<string, Kind>} what one is called → its collection */
export const COLLECTION = {
  chassis: "chassis",
  physnet: "physnets",
  network: "networks",
  node: "nodes",
  guest: "guests",
  port: "ports",
  test: "tests",
};

/** @type {Set<Kind>} */
const stale = new Set();
let timer = 0;
let reading = false;

/** @param {Iterable<Kind>} kinds */
export function refresh(kinds) {
  for (const kind of kinds) stale.add(kind);
  if (stale.size && !timer && !reading) timer = setTimeout(readStale, state.loaded ? GATHER : 0);
}

export const refreshAll = () => refresh(KINDS);

async function readStale() {
  timer = 0;
  reading = true;
  const wanted = [...stale];
  stale.clear();
  try {
    const found = await Promise.all(wanted.map((kind) => list(`/v1/${kind}?limit=5000`)));
    const objects = { ...state.objects };
    wanted.forEach((kind, i) => (objects[kind] = new Map(found[i].items.map((item) => [item.name, item]))));
    set({ objects, revision: Math.max(...found.map((each) => each.revision)), loaded: true });
    if (!state.lab) await readName();
  } catch (error) {
    if (/** @type {any} */ (error).kind === "file")
      set({ loaded: true }); // a lab to which nothing was applied yet
    else wanted.forEach((kind) => stale.add(kind)); // the stream of events says what is wrong, and that it has ended
  } finally {
    reading = false;
    if (stale.size && state.connection !== "denied") timer = setTimeout(readStale, GATHER * 5);
  }
}

async function readName() {
  const { items } = await get("/v1/labs");
  set({ lab: items[0]?.name ?? "" });
  document.title = items.length ? `${items[0].name} · sdn` : "sdn";
}

/** @param {import("../core/store.js").Ref|null} ref @param {typeof state} [from] */
export function object(ref, from = state) {
  return ref ? from.objects[COLLECTION[ref.kind]]?.get(ref.name) : undefined;
}

/** Nodes and guests by one name. @param {string} name */
export const nodeRef = (name) => ({ kind: state.objects.guests.has(name) ? "guest" : "node", name });

/** The ports of a node or guest, or on a network or chassis. @param {"node"|"network"|"chassis"} by @param {string} name */
export function portsOf(by, name) {
  const value = (/** @type {any} */ port) => (by === "chassis" ? port.status.chassis : port[by]);
  return [...state.objects.ports.values()].filter((port) => value(port) === name);
}

/** What keeps a chassis from being as it shall be, in few words; "" where nothing does. @param {any} chassis */
export function wrongWith({ datapath, status: { flows, host } }) {
  if (datapath === "linux") return host.errors.length ? "has errors" : host.revision ? "" : "not built";
  if (!flows.connected) return flows.silent ? "does not answer" : "not connected";
  return flows.error || host.errors.length ? "has errors" : "";
}

/** Where a node, guest or port is. @param {string} kind @param {any} thing */
const chassisOf = (kind, thing) => state.objects.chassis.get(kind === "port" ? thing?.status.chassis : thing?.chassis);

/** Whether it is up: null where there is nothing to say. @param {string} kind @param {any} thing */
export function isUp(kind, thing) {
  const status = thing?.status ?? {};
  if (kind === "chassis") return thing.datapath === "external" ? null : !wrongWith(thing);
  if (chassisOf(kind, thing)?.datapath === "external") return null; // whoever runs it knows
  if (kind === "guest")
    return status.phase === "off" && thing.power === "off" ? null : status.phase === "running" && status.up;
  return "up" in status ? status.up : null;
}
