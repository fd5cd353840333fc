/**
 * The way of a traced packet over the picture.
 *
 * Enters: the ports at both ends and the hops of a trace. Leaves: a line along the rails from one to the other, a
 * number at each chassis on the way, and a cross where it was dropped. Never: a way that the picture has no rail for.
 */
const SVG = "http://www.w3.org/2000/svg";

/** @typedef {{x: number, y: number}} Point */

/** @param {string} name @param {Record<string, string>} attributes */
function make(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/**
 * @param {SVGSVGElement} svg
 * @param {{from: string, to: string[], hops: any[], reached: boolean}|null} trace  `to` are the ports that got it
 */
export function showRoute(svg, trace) {
  svg.querySelector(".route")?.remove();
  for (const box of svg.querySelectorAll(".is-crossed")) box.classList.remove("is-crossed", "is-current");
  svg.classList.toggle("is-dropped", trace?.reached === false);
  if (!trace) return;
  const layer = make("g", { class: "route" });
  const chassis = trace.hops.map((hop) => hop.chassis);
  const start = drop(svg, trace.from);
  const ends = trace.to.map((name) => drop(svg, name)).filter((each) => each !== null);
  if (start) {
    const paths = ends.length ? ends.map((end) => between(start, end)) : [towards(svg, start, chassis.slice(1))];
    for (const points of paths) layer.append(...line(points));
  }
  new Set(chassis).forEach((name) => layer.append(...badge(svg, name, chassis.indexOf(name) + 1)));
  if (!trace.reached && chassis.length) layer.append(...cross(svg, chassis[chassis.length - 1], start, chassis.length));
  svg.append(layer);
}

/**
 * How a port hangs: its card, its rail, and the riser that feeds the rail, if one does.
 * @param {SVGSVGElement} svg @param {string} name
 */
function drop(svg, name) {
  const group = /** @type {SVGGElement|null} */ (
    svg.querySelector(`[data-kind=port][data-name="${CSS.escape(name)}"]`)
  );
  const rail = /** @type {SVGPathElement|null} */ (group?.querySelector(".rail") ?? null);
  if (!group || !rail) return null;
  const box = rail.getBBox();
  const network = group.dataset.network ?? "";
  const host = /** @type {SVGGElement} */ (group.closest("[data-kind=chassis]"));
  const entry = host.querySelector(`[data-entry="${CSS.escape(network)}"]`);
  const riser = /** @type {SVGElement|null} */ (host.querySelector(`[data-rail="${CSS.escape(network)}"][data-riser]`));
  const top = Number(entry?.getAttribute("cy") ?? box.y);
  const left = Number(entry?.getAttribute("cx") ?? box.x);
  return {
    x: box.x,
    card: box.y + box.height,
    rail: box.y,
    top,
    left,
    riser: Number(riser?.dataset.riser ?? left),
    host,
  };
}

/** @typedef {NonNullable<ReturnType<typeof drop>>} Drop */

/** From its card up to where its network enters the chassis. @param {Drop} at @returns {Point[]} */
function out(at) {
  const up = [
    { x: at.x, y: at.card },
    { x: at.x, y: at.rail },
  ];
  return at.rail === at.top ? up : [...up, { x: at.riser, y: at.rail }, { x: at.riser, y: at.top }];
}

/** @param {Drop} a @param {Drop} b @returns {Point[]} */
function between(a, b) {
  if (a.host === b.host && a.rail === b.rail) return [...out(a).slice(0, 2), ...out(b).slice(0, 2).reverse()];
  if (a.host === b.host && a.rail !== a.top && b.rail !== b.top) {
    return [...out(a).slice(0, 3), { x: a.riser, y: b.rail }, ...out(b).slice(0, 2).reverse()];
  }
  const side = Math.min(a.left, b.left) - 14; // rows of the page are joined at its left
  const across =
    a.top === b.top
      ? []
      : [
          { x: side, y: a.top },
          { x: side, y: b.top },
        ];
  return [...out(a), ...across, ...out(b).reverse()];
}

/** Where it got lost: as far as the last chassis that saw it. @param {SVGSVGElement} svg @param {Drop} start @param {string[]} hosts */
function towards(svg, start, hosts) {
  const last = hosts.length ? box(svg, hosts[hosts.length - 1]) : null;
  return last ? [...out(start), { x: last.x, y: start.top }] : out(start).slice(0, 2);
}

/** @param {SVGSVGElement} svg @param {string} chassis @returns {SVGRectElement|null} */
export const boxOf = (svg, chassis) =>
  svg.querySelector(`[data-kind=chassis][data-name="${CSS.escape(chassis)}"] > .box`);

/** @param {SVGSVGElement} svg @param {string} chassis */
const box = (svg, chassis) => boxOf(svg, chassis)?.getBBox() ?? null;

/** @param {Point[]} points */
function line(points) {
  const d = points.map((point, i) => `${i ? "L" : "M"}${point.x} ${point.y}`).join("");
  return [
    make("path", { d, class: "route-edge" }),
    make("path", { d, class: "route-line" }),
    make("path", { d, class: "route-dots" }),
  ];
}

/** @param {SVGSVGElement} svg @param {string} chassis @param {number} number */
function badge(svg, chassis, number) {
  const at = box(svg, chassis);
  if (!at) return [];
  boxOf(svg, chassis)?.classList.add("is-crossed");
  const text = make("text", { x: `${at.x}`, y: `${at.y + 4.5}`, class: "route-number" });
  text.textContent = String(number);
  return [make("circle", { cx: `${at.x}`, cy: `${at.y}`, r: "12", class: "route-badge" }), text];
}

/** @param {SVGSVGElement} svg @param {string} chassis @param {Drop|null} start @param {number} hops */
function cross(svg, chassis, start, hops) {
  const at = box(svg, chassis);
  if (!at || !start) return [];
  const point = hops === 1 ? { x: start.x, y: start.rail } : { x: at.x, y: start.top };
  return [
    make("circle", { cx: `${point.x}`, cy: `${point.y}`, r: "9", class: "route-end" }),
    make("path", { d: `M${point.x - 4} ${point.y - 4}l8 8m0 -8l-8 8`, class: "route-cross" }),
  ];
}
