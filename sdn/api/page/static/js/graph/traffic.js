/**
 * Traffic on the picture: lines are as wide as there is traffic on them, with dots that go the way it goes.
 *
 * Enters: what each port carries. Leaves: widths of the rails, and one layer of dotted lines above them. Never: more moving dots
 * than a browser draws easily, or any where the reader's system asks for no motion.
 */
const STILL = 100; // bytes per second: below it a line is quiet (ARP, ND)
const MOVING = 80; // lines with dots at most, the busiest
const SVG = "http://www.w3.org/2000/svg";

/** Pixels: 2.6 where it is quiet, 9 at 1 GB/s. @param {number} rate */
export const width = (rate) => (rate < STILL ? 2.6 : Math.min(3.2 + 0.8 * (Math.log10(rate) - 2), 9));

/**
 * @param {SVGSVGElement} svg
 * @param {Iterable<{port: string, network: string, chassis: string, sent: number, received: number}>} loads
 */
export function showTraffic(svg, loads) {
  const busy = [];
  /** @type {Map<string, number>} */
  const ports = new Map();
  /** @type {Map<string, number>} */
  const rails = new Map();
  for (const load of loads) {
    const total = load.sent + load.received;
    const rail = `${load.chassis} ${load.network}`;
    ports.set(load.port, total);
    rails.set(rail, (rails.get(rail) ?? 0) + total);
    if (total >= STILL) busy.push({ ...load, total });
  }
  widen(svg, ports, rails);
  dots(svg, busy.sort((a, b) => b.total - a.total).slice(0, MOVING));
}

/** @param {SVGSVGElement} svg @param {Map<string, number>} ports @param {Map<string, number>} rails */
function widen(svg, ports, rails) {
  for (const group of svg.querySelectorAll("[data-kind=port]")) {
    set(group.querySelector(".rail"), ports.get(/** @type {SVGElement} */ (group).dataset.name ?? "") ?? 0);
  }
  for (const rail of svg.querySelectorAll("[data-rail]")) {
    const chassis = /** @type {SVGElement} */ (rail.closest("[data-kind=chassis]")).dataset.name;
    set(rail, rails.get(`${chassis} ${/** @type {SVGElement} */ (rail).dataset.rail}`) ?? 0);
  }
}

/** @param {Element|null} line @param {number} rate */
function set(line, rate) {
  const wanted = rate < STILL ? "" : `${width(rate).toFixed(1)}px`;
  const style = /** @type {SVGElement} */ (line).style;
  if (style.strokeWidth !== wanted) style.strokeWidth = wanted;
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
