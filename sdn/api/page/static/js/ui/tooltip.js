/**
 * What is under the pointer, in a few words.
 */
import { html, useEffect, useState } from "../../vendor/preact.js";
import { use } from "../core/store.js";
import { place, rate } from "../core/format.js";
import { rateOf } from "../lab/counters.js";
import { isUp, object, portsOf } from "../lab/objects.js";
import { State } from "./parts.js";

const WAIT = 120; // milliseconds

/** @param {{viewport: {current: HTMLElement}}} props */
export function Tooltip({ viewport }) {
  const [at, show] = useState(/** @type {any} */ (null));
  useEffect(() => {
    let timer = 0;
    const hide = () => (clearTimeout(timer), show(null));
    const over = (/** @type {PointerEvent} */ event) => {
      hide();
      const group = /** @type {SVGElement|null} */ (/** @type {Element} */ (event.target).closest("[data-kind]"));
      if (!group || event.buttons || event.pointerType === "touch") return;
      const box = viewport.current.getBoundingClientRect();
      const { kind, name } = group.dataset;
      timer = setTimeout(() => show({ kind, name, x: event.clientX - box.left, y: event.clientY - box.top }), WAIT);
    };
    const place = viewport.current;
    place.addEventListener("pointerover", over);
    for (const kind of ["pointerleave", "pointerdown", "wheel"]) place.addEventListener(kind, hide, { passive: true });
    return hide;
  }, []);
  use((s) => s.rates); // they go on while it is shown
  const thing = at && object(at);
  if (!thing) return null;
  const flip = at.x > viewport.current.clientWidth - 300;
  return html`<div class="tooltip" role="tooltip" style=${{ left: flip ? "auto" : `${at.x + 14}px`, right: flip ? `${viewport.current.clientWidth - at.x + 14}px` : "auto", top: `${at.y + 14}px` }}>
    <b>${at.kind} ${at.name}</b> <${State} up=${isUp(at.kind, thing)} label=${thing.status?.phase} />
    ${lines(at.kind, thing).map((line) => html`<div>${line}</div>`)}
    <div class="soft">${place(thing.source)}</div>
  </div>`;
}

/** @param {string} kind @param {any} thing @returns {string[]} */
function lines(kind, thing) {
  if (kind === "port") return [`${thing.mac}  ${thing.ip.join("  ")}`, traffic([thing])];
  if (kind === "node" || kind === "guest") {
    const ports = portsOf("node", thing.name);
    return [
      ...ports.map(
        (port) =>
          `${port.interface}${port.tag === null ? "" : `.${port.tag}`} on ${port.network}  ${port.ip.join("  ")}`,
      ),
      traffic(ports),
    ];
  }
  if (kind === "network")
    return [
      `${Object.entries(thing.segment).map((each) => each.join(" "))} · MTU ${thing.mtu}`,
      `${thing.status.ports} ports`,
    ];
  if (kind === "chassis") return [`vtep ${thing.vtep} · ${thing.status.flows.count} flows`];
  return [];
}

/** @param {any[]} ports */
function traffic(ports) {
  const known = ports.map((port) => rateOf(port)).filter((each) => each !== undefined);
  if (!known.length) return "";
  const sum = (/** @type {"sent"|"received"} */ way) => known.reduce((total, each) => total + each[way], 0);
  return `↑ ${rate(sum("sent"))}   ↓ ${rate(sum("received"))}`;
}
