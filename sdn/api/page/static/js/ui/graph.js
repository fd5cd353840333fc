/**
 * The picture in the middle: it follows the lab, can be walked over by keys, and shows traffic and traces.
 *
 * Enters: the store's state; "sdn-picture" and "sdn-close-up". Leaves: `selection`. Never: a picture drawn anew where a part of it will do.
 */
import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { request } from "../core/http.js";
import { set, state, use, watch } from "../core/store.js";
import { Camera } from "../graph/camera.js";
import { nearest } from "../graph/nearby.js";
import { parse, patch } from "../graph/picture.js";
import { boxOf, showRoute } from "../graph/route.js";
import { showTraffic } from "../graph/traffic.js";
import { select } from "../lab/choose.js";
import { Loads } from "../lab/loads.js";
import { Icon } from "./icons.js";
import { Empty, Failure, Loading } from "./parts.js";
import { Tooltip } from "./tooltip.js";

const GATHER = 150; // milliseconds
const WALKED = "[data-kind=node], [data-kind=guest], [data-kind=chassis]";

export function Graph() {
  const viewport = useRef(/** @type {any} */ (null));
  const camera = useRef(/** @type {Camera|null} */ (null));
  const [status, tell] = useState(/** @type {any} */ ({ loading: true }));
  useEffect(() => {
    camera.current = new Camera(viewport.current);
    return follow(viewport.current, camera.current, tell);
  }, []);
  const isEmpty = use((s) => s.loaded && !s.objects.chassis.size);
  return html`<main class="stage" aria-label="topology">
    <div class="graph" ref=${viewport} tabindex="0" onClick=${(/** @type {MouseEvent} */ event) => click(event, camera.current)}
      onDblClick=${() => camera.current?.fit()} onKeyDown=${(/** @type {KeyboardEvent} */ event) => key(event, camera.current)}
      aria-label="the lab's topology: arrow keys walk over it, plus and minus zoom, 0 fits it"></div>
    ${status.loading && html`<${Loading} label="drawing the lab" />`}
    ${status.error && html`<div class="stage-note"><${Failure} error=${status.error} /></div>`}
    ${isEmpty && html`<${Empty} title="This lab has nothing in it yet" hint="Write its topology under Edit, or: sdn apply FILE" />`}
    <${Tooltip} viewport=${viewport} />
    <div class="zoom" role="group" aria-label="zoom">
      <button onClick=${() => camera.current?.zoomIn()} title="closer (+)" aria-label="closer"><${Icon} name="plus" /></button>
      <button onClick=${() => camera.current?.zoomOut()} title="farther (-)" aria-label="farther"><${Icon} name="minus" /></button>
      <button onClick=${() => camera.current?.fit()} title="all of it (0)" aria-label="fit"><${Icon} name="fit" /></button>
    </div>
  </main>`;
}

/** @param {HTMLElement} viewport @param {Camera} camera @param {(status: any) => void} tell */
function follow(viewport, camera, tell) {
  let timer = 0;
  const draw = async () => {
    timer = 0;
    try {
      const answer = await request("/v1/graph.svg");
      show(viewport, camera, parse(await answer.text()));
      tell({});
    } catch (error) {
      const isKnown = viewport.firstElementChild || state.connection === "denied"; // an old picture is better than none
      tell({ error: isKnown ? null : error });
    }
  };
  const soon = () => (timer ||= setTimeout(draw, GATHER));
  draw();
  const closeUp = () => {
    const chosen = viewport.querySelector(".is-chosen");
    if (chosen && viewport.classList.contains("is-far")) camera.closeUp(chosen);
  };
  addEventListener("sdn-picture", soon);
  addEventListener("sdn-close-up", closeUp);
  const unwatch = [
    watch(
      (s) => s.selection,
      () => camera.svg && reveal(camera, mark(camera.svg)),
    ),
    watch(
      (s) => s.objects.ports,
      () => camera.svg && mark(camera.svg),
    ),
    watch(
      (s) => s.rates,
      () => camera.svg && showTraffic(camera.svg, new Loads()),
    ),
    watch(
      (s) => s.trace,
      () => camera.svg && route(camera.svg),
    ),
  ];
  return () => (
    removeEventListener("sdn-picture", soon),
    removeEventListener("sdn-close-up", closeUp),
    unwatch.forEach((end) => end())
  );
}

/** @param {HTMLElement} viewport @param {Camera} camera @param {SVGSVGElement} next */
function show(viewport, camera, next) {
  if (!camera.svg || !patch(camera.svg, next)) {
    viewport.replaceChildren(next);
    camera.show(next);
  }
  const svg = /** @type {SVGSVGElement} */ (camera.svg);
  const colours = coloursOf(svg);
  if (!sameEntries(colours, state.colours)) set({ colours });
  mark(svg);
  showTraffic(svg, new Loads());
  route(svg);
}

/** What the line of each network is drawn with. @param {SVGSVGElement} svg @returns {Map<string, string>} */
const coloursOf = (svg) =>
  new Map(
    [...svg.querySelectorAll("[data-kind=network] > .rail")].map((line) => [
      /** @type {SVGElement} */ (line.parentNode).dataset.name ?? "",
      line.getAttribute("class") ?? "",
    ]),
  );

/** @param {Map<string, string>} a @param {Map<string, string>} b */
const sameEntries = (a, b) => a.size === b.size && [...a].every(([name, value]) => b.get(name) === value);

/** @param {SVGSVGElement} svg */
function route(svg) {
  const { result, request: asked, hop } = state.trace;
  const from = result?.hops[0]?.came.port ?? asked.from;
  showRoute(
    svg,
    result && {
      from,
      to: result.delivered.filter((/** @type {string} */ name) => name !== from),
      hops: result.hops,
      reached: result.reached,
    },
  );
  const current = result?.hops[hop]?.chassis;
  if (current) boxOf(svg, current)?.classList.add("is-current");
}

/** @param {Camera} camera @param {Element|undefined} chosen */
const reveal = (camera, chosen) => chosen && state.selection?.kind !== "network" && camera.reveal(chosen);

/** Shows what is chosen, and dims what has nothing to do with a network that is. Returns it. @param {SVGSVGElement} svg */
function mark(svg) {
  for (const old of svg.querySelectorAll(".is-chosen, .is-of-network"))
    old.classList.remove("is-chosen", "is-of-network");
  const chosen = state.selection;
  svg.classList.toggle("is-dimmed", chosen?.kind === "network");
  if (!chosen) return undefined;
  const groups = svg.querySelectorAll(
    `[data-kind="${CSS.escape(chosen.kind)}"][data-name="${CSS.escape(chosen.name)}"]`,
  );
  for (const group of groups) group.classList.add("is-chosen");
  if (chosen.kind === "network") markNetwork(svg, chosen.name);
  return groups[0];
}

/** @param {SVGSVGElement} svg @param {string} network */
function markNetwork(svg, network) {
  const name = CSS.escape(network);
  const nodes = new Set(
    [...state.objects.ports.values()].filter((port) => port.network === network).map((port) => port.node),
  );
  for (const element of svg.querySelectorAll(`[data-network="${name}"], [data-rail="${name}"], [data-entry="${name}"]`))
    element.classList.add("is-of-network");
  for (const card of svg.querySelectorAll("[data-kind=node], [data-kind=guest]")) {
    if (nodes.has(/** @type {SVGElement} */ (card).dataset.name)) card.classList.add("is-of-network");
  }
}

/** @param {MouseEvent} event @param {Camera|null} camera */
function click(event, camera) {
  if (camera?.moved) return;
  const group = /** @type {SVGElement|null} */ (/** @type {Element} */ (event.target).closest("[data-kind]"));
  const { kind = "", name = "" } = group?.dataset ?? {};
  select(group && kind !== "underlay" ? { kind, name } : null);
}

/** @param {KeyboardEvent} event @param {Camera|null} camera */
function key(event, camera) {
  if (!camera?.svg || event.ctrlKey || event.metaKey || event.altKey) return;
  const actions = /** @type {Record<string, () => void>} */ ({
    "+": camera.zoomIn,
    "=": camera.zoomIn,
    "-": camera.zoomOut,
    0: () => camera.fit(),
    Enter: press,
    " ": press,
    z: () => dispatchEvent(new Event("sdn-close-up")),
  });
  const act = actions[event.key];
  if (act) act();
  else if (event.key.startsWith("Arrow")) event.shiftKey ? shift(event.key, camera) : walk(event.key, camera.svg);
  else return;
  event.preventDefault();
}

/** What has the focus becomes what is chosen. */
function press() {
  const { kind, name } = /** @type {HTMLElement} */ (document.activeElement).dataset;
  if (kind && name) select({ kind, name });
}

/** @param {string} key @param {Camera} camera */
function shift(key, camera) {
  const ways = /** @type {Record<string, [number, number]>} */ ({
    ArrowLeft: [60, 0],
    ArrowRight: [-60, 0],
    ArrowUp: [0, 60],
    ArrowDown: [0, -60],
  });
  camera.pan(...ways[key]);
}

/** @param {string} key @param {SVGSVGElement} svg */
function walk(key, svg) {
  const candidates = /** @type {SVGElement[]} */ ([...svg.querySelectorAll(WALKED)]);
  const focused = candidates.find((each) => each === document.activeElement);
  const chosen = candidates.find((each) => each.classList.contains("is-chosen"));
  const cards = candidates.filter((each) => each.dataset.kind !== "chassis");
  const next = nearest(focused ?? chosen ?? null, cards.length ? cards : candidates, key);
  next?.focus();
  if (next) select({ kind: next.dataset.kind ?? "", name: next.dataset.name ?? "" });
}
