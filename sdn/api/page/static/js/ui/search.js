/**
 * Search: anything of the lab by a part of its name or address. Arrow keys choose, Enter opens.
 */
import { html, useMemo, useState } from "../../vendor/preact.js";
import { set, use } from "../core/store.js";
import { goTo } from "../lab/choose.js";
import { isUp } from "../lab/objects.js";
import { Dialog } from "./dialog.js";
import { State } from "./parts.js";

const SHOWN = 12;
const SEARCHED = /** @type {const} */ ([
  ["node", "nodes"],
  ["guest", "guests"],
  ["port", "ports"],
  ["network", "networks"],
  ["chassis", "chassis"],
  ["physnet", "physnets"],
  ["test", "tests"],
]);

export function Search() {
  const objects = use((s) => s.objects);
  const [words, setWords] = useState("");
  const [at, setAt] = useState(0);
  const entries = useMemo(() => index(objects), [objects]);
  const found = useMemo(() => matching(entries, words), [entries, words]);
  const open = (/** @type {any} */ entry) => {
    set({ dialog: "" });
    if (entry) goTo({ kind: entry.kind, name: entry.name });
  };
  const key = (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && found.length) setAt((at + step + found.length) % found.length);
    else if (event.key === "Enter") open(found[at]);
    else return;
    event.preventDefault();
  };
  return html`<${Dialog} label="search" kind="is-search">
    <input autofocus type="search" role="combobox" aria-expanded="true" aria-controls="found" aria-activedescendant=${found.length ? `found-${at}` : undefined} aria-label="search"
      placeholder="a name, an address, a MAC" value=${words} onKeyDown=${key} onInput=${(/** @type {any} */ event) => (setWords(event.target.value), setAt(0))} />
    <ul class="found" id="found" role="listbox">${found.map(
      (
        /** @type {any} */ entry,
        /** @type {number} */ i,
      ) => html`<li id=${`found-${i}`} role="option" aria-selected=${i === at} onMouseMove=${() => setAt(i)} onClick=${() => open(entry)}>
      <span class="kind">${entry.kind}</span><b>${entry.name}</b><span><${State} up=${isUp(entry.kind, entry.thing)} label="" /></span><span class="soft mono">${entry.more}</span></li>`,
    )}</ul>
    ${!found.length && html`<p class="soft found-none">nothing is called so</p>`}
  <//>`;
}

/** @param {typeof import("../core/store.js").state.objects} objects */
function index(objects) {
  /** @type {Map<string, string[]>} */
  const addresses = new Map();
  for (const port of objects.ports.values())
    addresses.set(port.node, [...(addresses.get(port.node) ?? []), ...port.ip]);
  return SEARCHED.flatMap(([kind, all]) =>
    [...objects[all].values()].map((thing) => {
      const own = kind === "node" || kind === "guest" ? (addresses.get(thing.name) ?? []) : (thing.ip ?? []);
      const more = [thing.mac, ...own, thing.vtep, ...(thing.subnets ?? [])].filter(Boolean).join(" ");
      return { kind, name: thing.name, more, thing, text: `${kind} ${thing.name} ${more}`.toLowerCase() };
    }),
  );
}

/** Names that begin so come first. @param {ReturnType<typeof index>} entries @param {string} words */
function matching(entries, words) {
  const wanted = words.toLowerCase().trim().split(/\s+/);
  const found = entries.filter((entry) => wanted.every((word) => entry.text.includes(word)));
  const rank = (/** @type {any} */ entry) => (entry.name === words ? 0 : entry.name.startsWith(wanted[0]) ? 1 : 2);
  return found.sort((a, b) => rank(a) - rank(b)).slice(0, SHOWN);
}
