/**
 * Traffic on the picture: lines are as wide as there is traffic on them, with dots that go the way it goes.
 *
 * Enters: what each line carries. Leaves: widths of the lines, and one layer of dotted lines above them. Never: more moving dots
 * than a browser draws easily, or any where the reader's system asks for no motion.
 */
import { state } from "../core/store.js";

const STILL = 100; // bytes per second: below it a line is quiet (ARP, ND)
const MOVING = 80; // lines with dots at most, the busiest
const SVG = "http://www.w3.org/2000/svg";

/** Pixels: 2.6 where it is quiet, 9 at 1 GB/s. @param {number} rate */
export const width = (rate) => (rate < STILL ? 2.6 : Math.min(3.2 + 0.8 * (Math.log10(rate) - 2), 9));

/** @param {SVGSVGElement} svg @param {import("../lab/loads.js").Loads} loads */
export function showTraffic(svg, loads) {
  const busy = [];
  for (const port of svg.querySelectorAll("[data-kind=port]")) {
    const known = state.objects.ports.get(nameOf(port));
    const total = known ? loads.drop(known) : 0;
    set(port.querySelector(".rail"), total);
    if (total >= STILL) busy.push({ port: known.name, ...loads.port(known), total });
  }
  for (const line of svg.querySelectorAll("[data-beyond]")) set(line, carried(line, loads));
  for (const foot of svg.querySelectorAll("[data-foot]")) {
    set(foot, loads.foot(nameOf(foot.closest("[data-kind]")), dataOf(foot).foot ?? ""));
  }
  dots(svg, busy.sort((a, b) => b.total - a.total).slice(0, MOVING));
}

/** Over a piece of a line. @param {Element} line @param {import("../lab/loads.js").Loads} loads */
function carried(line, loads) {
  const beyond = (dataOf(line).beyond ?? "").split(" ").filter(Boolean);
  const within = line.closest("[data-kind]");
  const { rail } = dataOf(line);
  if (rail !== undefined) return loads.inside(rail, nameOf(within), beyond);
  return line.classList.contains("bar") ? loads.along(nameOf(within), beyond) : loads.between(nameOf(within), beyond);
}

/** @param {Element} element */
const dataOf = (element) => /** @type {SVGElement} */ (element).dataset;

/** @param {Element|null} group */
const nameOf = (group) => (group && dataOf(group).name) ?? "";

/** @param {Element|null} line @param {number} rate */
function set(line, rate) {
  const wanted = rate < STILL ? "" : `${width(rate).toFixed(1)}px`;
  const { style, classList } = /** @type {SVGElement} */ (line);
  classList.toggle("is-carrying", wanted !== "");
  if (style.strokeWidth === wanted) return;
  style.strokeWidth = wanted;
  style.setProperty("--width", wanted);
}

/** @param {SVGSVGElement} svg @param {{port: string, sent: number, received: number, total: number}[]} busy */
function dots(svg, busy) {
  const layer = svg.querySelector(".traffic") ?? svg.appendChild(document.createElementNS(SVG, "g"));
  layer.setAttribute("class", "traffic");
  const kept = new Map([...layer.children].map((line) => [/** @type {SVGElement} */ (line).dataset.of, line]));
  for (const { port, sent, received, total } of busy) {
    const rail = svg.querySelector(`[data-kind=port][data-name="${CSS.escape(port)}"] .rail`);
    if (!rail) continue;
    const line = /** @type {SVGElement} */ (kept.get(port) ?? layer.appendChild(document.createElementNS(SVG, "path")));
    kept.delete(port);
    line.dataset.of = port;
    line.setAttribute("d", rail.getAttribute("d") ?? "");
    line.setAttribute("class", sent > received ? "up-going" : "down-going");
    line.style.strokeWidth = `${Math.max(width(total) - 2.2, 1.2).toFixed(1)}px`;
    const speed = total > 1e7 ? "fast" : total > 1e5 ? "brisk" : "slow";
    line.classList.add(speed); // of few kinds, so that the dots do not jump whenever the rate is another
  }
  for (const gone of kept.values()) gone.remove();
}
