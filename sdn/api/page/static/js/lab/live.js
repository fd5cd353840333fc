/**
 * What happens in the lab, as it happens.
 *
 * Enters: GET /v1/events, from the oldest that is kept. Leaves: the store's `events` and `connection`; calls of `refresh` for what an event changes,
 * and the DOM event "sdn-picture" where the picture is another. Never: an event lost over a cut: the stream goes on from
 * Last-Event-ID, and everything is read again besides.
 */
import { follow } from "../core/sse.js";
import { set, state } from "../core/store.js";
import { refresh, refreshAll } from "./objects.js";

const KEPT = 1000;

/** @type {Record<string, import("../core/store.js").Kind[]>} */
const TOUCHES = {
  "port.up": ["ports", "nodes", "guests"],
  "port.down": ["ports", "nodes", "guests"],
  "guest.changed": ["guests"],
  "chassis.changed": ["chassis"],
  "flows.confirmed": ["chassis"],
  "revision.settled": ["chassis"],
};

/** @type {any[]} */
let waiting = [];

/** @returns {() => void} ends it */
export function followEvents() {
  return follow("/v1/events?after=0", { resume: true, onEvent: take, onState: connect });
}

/** @param {"open"|"away"|"denied"} how @param {string} why */
function connect(how, why) {
  if (how === "open") {
    set({ connection: "live", reason: "" });
    refreshAll();
    pictureChanged();
  } else {
    set({ connection: how, reason: why, dialog: how === "denied" ? "token" : state.dialog });
  }
}

/** @param {{id: string, kind: string, data: string}} told */
function take(told) {
  const event = JSON.parse(told.data);
  if (!waiting.length) requestAnimationFrame(tell);
  waiting.push({ ...event, kind: event.kind || told.kind, id: event.id || told.id });
}

/** Those of one frame at once: bringing a lab up makes hundreds. */
function tell() {
  const events = [...state.events, ...waiting].slice(-KEPT);
  const kinds = new Set(waiting.map((event) => event.kind));
  waiting = [];
  set({ events });
  if (kinds.has("model.changed") || kinds.has("missed")) refreshAll();
  else for (const kind of kinds) refresh(TOUCHES[kind] ?? []);
  if (kinds.has("model.changed") || [...kinds].some((kind) => kind in TOUCHES)) pictureChanged();
}

export function pictureChanged() {
  dispatchEvent(new Event("sdn-picture"));
}
