/**
 * What happens in the lab, as it happens.
 *
 * Enters: GET /v1/events. Leaves: the store's `events` and `connection`; calls of `refresh` for what an event changes,
 * and the DOM event "sdn-picture" where the picture is another. Never: an event lost over a cut: the stream goes on from
 * Last-Event-ID, and everything is read again besides.
 */
import { get } from "../core/http.js";
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

/**
 * First what is kept of the past, which changes nothing any more, then what follows it: so nothing is missed between
 * the two, and all that is read from here on is at least as new as where the stream begins.
 */
export async function followEvents() {
  let last = "";
  try {
    const kept = await get("/v1/events?follow=false");
    last = kept.last;
    set({ events: kept.items.slice(-KEPT) });
  } catch (error) {
    if (/** @type {any} */ (error).status === 401) return;
  }
  refreshAll();
  follow(`/v1/events${last && `?after=${encodeURIComponent(last)}`}`, {
    resume: true,
    onEvent: take,
    onState: connect,
  });
}

/** @param {"open"|"away"|"denied"} how @param {string} why */
function connect(how, why) {
  const wasAway = state.connection === "away";
  if (how === "open") set({ connection: "live", reason: "" });
  else set({ connection: how, reason: why, dialog: how === "denied" ? "token" : state.dialog });
  if (how === "open" && wasAway) {
    refreshAll();
    pictureChanged();
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
