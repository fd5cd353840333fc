/**
 * The picture of the lab, drawn by the server (GET /v1/graph.svg, the same as `sdn graph`).
 *
 * Enters: the SVG's text. Leaves: its element in the document, without what a document may not bring along; `patch`
 * changes only what is another, so that a state that changes does not redraw five hundred nodes.
 */
const FORBIDDEN = "script, style, foreignObject, iframe, image, use, animate, set, a, title"; // titles: we have tooltips
const NAMES = {
  network: "network",
  chassis: "chassis",
  node: "node",
  guest: "guest",
  port: "port",
  physnet: "physical network",
  underlay: "underlay",
};

/** @param {string} text @returns {SVGSVGElement} */
export function parse(text) {
  const svg = /** @type {any} */ (new DOMParser().parseFromString(text, "image/svg+xml").documentElement);
  if (svg.localName !== "svg") throw new Error("the picture cannot be read");
  for (const element of svg.querySelectorAll(FORBIDDEN)) element.remove();
  svg.removeAttribute("role"); // what is in it can be chosen: it is no image
  for (const group of svg.querySelectorAll("[data-kind]")) describe(group);
  for (const rail of svg.querySelectorAll("[data-kind=port] > .rail")) rail.after(wide(rail));
  for (const name of svg.querySelectorAll(".card ~ .name, .card ~ g > .name")) sizeFromAfar(name);
  return svg;
}

/** The same line, wide enough to be pointed at. @param {Element} rail */
function wide(rail) {
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", rail.getAttribute("d") ?? "");
  line.setAttribute("class", "reach");
  return line;
}

/** How large a name can be where nothing else of its card can be read: as large as the card lets it. @param {SVGTextElement} name */
function sizeFromAfar(name) {
  const card = /** @type {SVGRectElement} */ (name.closest("[data-kind]")?.querySelector(".card"));
  const [y, width, height] = ["y", "width", "height"].map((each) => Number(card.getAttribute(each)));
  const size = Math.min(height * 0.62, (width - 34) / (0.62 * (name.textContent ?? "").length));
  name.style.setProperty("--size", `${size.toFixed(1)}px`);
  name.style.setProperty("--down", `${(y + height / 2 + size * 0.35 - Number(name.getAttribute("y"))).toFixed(1)}px`);
}

/** For a reader of the screen. @param {SVGElement} group */
function describe(group) {
  const { kind = "", name = "" } = group.dataset;
  group.setAttribute("role", "button");
  group.setAttribute("tabindex", "-1");
  group.setAttribute("aria-label", `${NAMES[/** @type {keyof typeof NAMES} */ (kind)] ?? kind} ${name}`);
}

/**
 * Brings `old` to what `next` shows. Returns false where they differ in more than words and states, and nothing is done.
 * @param {SVGSVGElement} old @param {SVGSVGElement} next
 */
export function patch(old, next) {
  const [ours, theirs] = [groups(old), groups(next)];
  if (old.getAttribute("viewBox") !== next.getAttribute("viewBox") || ours.length !== theirs.length) return false;
  const pairs = ours.map((group, i) => /** @type {const} */ ([group, theirs[i]]));
  if (!pairs.every(([a, b]) => a.dataset.kind === b.dataset.kind && a.dataset.name === b.dataset.name)) return false;
  for (const [a, b] of pairs) {
    const [was, is] = [own(a), own(b)];
    const same = was.length === is.length && was.every((element, i) => element.isEqualNode(is[i]));
    if (!same) replaceOwn(a, was, is);
  }
  return true;
}

/** @param {SVGSVGElement} svg @returns {SVGGElement[]} */
const groups = (svg) => [...svg.querySelectorAll("[data-kind]")].map((group) => /** @type {SVGGElement} */ (group));

/** What is drawn for a group itself, not for those in it. @param {Element} group */
const own = (group) => [...group.children].filter((child) => !(/** @type {SVGElement} */ (child).dataset.kind));

/** @param {Element} group @param {Element[]} was @param {Element[]} is */
function replaceOwn(group, was, is) {
  if (was.length === is.length)
    return was.forEach((element, i) => element.isEqualNode(is[i]) || element.replaceWith(is[i]));
  was.forEach((element) => element.remove());
  group.prepend(...is);
}
