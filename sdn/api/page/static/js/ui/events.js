/**
 * The stream of events: filtered, paused, each with the thing it is about.
 */
import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { clock, plural } from "../core/format.js";
import { use } from "../core/store.js";
import { select } from "../lab/choose.js";
import { COLLECTION } from "../lab/objects.js";
import { Icon } from "./icons.js";
import { Empty } from "./parts.js";

const SHOWN = 300;
/** @type {[string, (kind: string) => boolean][]} */
const GROUPS = [
  ["model", (kind) => /^(model|revision)\./.test(kind)],
  ["flows", (kind) => kind.startsWith("flows.")],
  ["ports", (kind) => kind.startsWith("port.")],
  ["guests", (kind) => kind.startsWith("guest.")],
  ["chassis", (kind) => kind.startsWith("chassis.")],
  ["processes", (kind) => kind.startsWith("process.")],
  ["drift", (kind) => kind.startsWith("drift.")],
  ["failures", (kind) => kind === "failure"],
  ["tests", (kind) => kind.startsWith("test.")],
];
const BAD = new Set(["port.down", "drift.found", "failure"]);
const GOOD = new Set(["port.up", "drift.repaired", "revision.settled"]);

export function Events() {
  const all = use((s) => s.events);
  const connection = use((s) => s.connection);
  const [off, setOff] = useState(/** @type {Set<string>} */ (new Set()));
  const [words, setWords] = useState("");
  const [held, hold] = useState(/** @type {any[]|null} */ (null));
  const shown = (held ?? all).filter((/** @type {any} */ event) => isWanted(event, off, words)).slice(-SHOWN);
  const toggle = (/** @type {string} */ name) =>
    setOff(new Set(off.has(name) ? [...off].filter((each) => each !== name) : [...off, name]));
  return html`<div class="form-row is-bar"><input type="search" placeholder="filter: a name, a word" aria-label="filter events" value=${words} onInput=${(/** @type {any} */ event) => setWords(event.target.value)} />
      <button onClick=${() => hold(held ? null : all)} aria-pressed=${!!held}><${Icon} name=${held ? "play" : "pause"} size=${14} /> ${held ? `Go on${all.length > held.length ? ` (${all.length - held.length} new)` : ""}` : "Pause"}</button></div>
    <div class="chips" role="group" aria-label="kinds of events">${GROUPS.map(([name]) => html`<button class="chip" aria-pressed=${!off.has(name)} onClick=${() => toggle(name)}>${name}</button>`)}</div>
    <p class="soft stream-state">${connection === "live" ? (held ? "paused" : "live") : "not connected; it goes on from where it was"} · ${plural(shown.length, "event")}</p>
    ${shown.length ? html`<${Stream} events=${shown} />` : html`<${Empty} title="Nothing has happened" hint="Since this page was opened, or none that the filter lets through." />`}`;
}

/** @param {any} event @param {Set<string>} off @param {string} words */
function isWanted(event, off, words) {
  const group = GROUPS.find(([, has]) => has(event.kind));
  if (group && off.has(group[0])) return false;
  const text = `${event.kind} ${event.object?.name ?? ""} ${event.message}`.toLowerCase();
  return words
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

/** The newest is below, and stays in view unless the reader has scrolled up. @param {{events: any[]}} props */
function Stream({ events }) {
  const list = useRef(/** @type {any} */ (null));
  const stays = useRef(true);
  useEffect(() => {
    if (stays.current) list.current.scrollTop = list.current.scrollHeight;
  }, [events.at(-1)?.id]);
  const scrolled = () =>
    (stays.current = list.current.scrollHeight - list.current.scrollTop - list.current.clientHeight < 40);
  return html`<ol class="events" ref=${list} onScroll=${scrolled} role="log" aria-label="events" tabindex="0">${events.map((event) => html`<${Event} key=${event.id} event=${event} />`)}</ol>`;
}

/** The name is a link before it. @param {any} event @returns {string} */
function withoutName({ object, message }) {
  const named = object && object.kind in COLLECTION && message.startsWith(object.name);
  return named ? message.slice(object.name.length).replace(/^:? /, "") : message;
}

/** @param {{event: any}} props */
function Event({ event }) {
  const { object } = event;
  const style = BAD.has(event.kind) ? "bad" : GOOD.has(event.kind) ? "good" : "";
  return html`<li data-event=${event.kind}><time class="mono">${clock(event.time)}</time> <span class=${`event-kind ${style}`}>${event.kind}</span>
    ${object && object.kind in COLLECTION && html` <button class="link" onClick=${() => select(object)}>${object.name}</button>`} <span class="event-message">${withoutName(event)}</span></li>`;
}
