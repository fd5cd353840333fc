/**
 * The head of the page: which lab, how it is, search, theme.
 */
import { html, useState } from "../../vendor/preact.js";
import { count, plural } from "../core/format.js";
import { set, use } from "../core/store.js";
import { isUp } from "../lab/objects.js";
import { Icon } from "./icons.js";

const THEMES = /** @type {const} */ ({ auto: "light", light: "dark", dark: "auto" });
const ICONS = /** @type {const} */ ({ auto: "auto", light: "sun", dark: "moon" });

export function Header() {
  const lab = use((s) => s.lab);
  const revision = use((s) => s.revision);
  return html`<header class="head">
    <span class="brand">sdn</span><span class="lab-name">${lab}</span>
    ${revision > 0 && html`<span class="revision" title="revision of the lab's model">revision ${count(revision)}</span>`}
    <${Health} />
    <button class="search-button" onClick=${() => set({ dialog: "search" })}><${Icon} name="search" size=${16} /><span>Search nodes, ports, networks…</span><kbd>/</kbd></button>
    <${Theme} />
  </header>`;
}

/** One word for the whole lab; what is down can be looked at. */
function Health() {
  const connection = use((s) => s.connection);
  const objects = use((s) => s.objects);
  const loaded = use((s) => s.loaded);
  if (connection !== "live" || !loaded)
    return html`<span class="health is-away"><i></i>${connection === "denied" ? "locked" : "connecting"}</span>`;
  const down = [
    .../** @type {const} */ ([
      ["chassis", objects.chassis],
      ["node", objects.nodes],
      ["guest", objects.guests],
    ]),
  ].flatMap(([kind, all]) =>
    [...all.values()].filter((each) => isUp(kind, each) === false).map((each) => ({ kind, name: each.name })),
  );
  if (!down.length) return html`<span class="health is-good"><i></i>all up</span>`;
  return html`<button class="health is-bad" onClick=${() => set({ selection: down[0] })} title=${down
    .slice(0, 12)
    .map((each) => `${each.kind} ${each.name}`)
    .join(", ")}>
    <i></i>${plural(down.length, "thing")} down</button>`;
}

function Theme() {
  const [chosen, choose] = useState(document.documentElement.dataset.chosen ?? "auto");
  const theme = /** @type {keyof typeof THEMES} */ (chosen);
  const next = () => {
    const wanted = THEMES[theme];
    if (wanted === "auto") localStorage.removeItem("sdn.theme");
    else localStorage.setItem("sdn.theme", wanted);
    dispatchEvent(new Event("sdn-theme"));
    choose(wanted);
  };
  const words = { auto: "as the system is", light: "light", dark: "dark" }[theme];
  return html`<button class="icon-button" id="theme" onClick=${next} title=${`theme: ${words}`} aria-label=${`theme: ${words}`}><${Icon} name=${ICONS[theme]} /></button>`;
}
