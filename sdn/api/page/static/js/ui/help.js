/**
 * The keys.
 */
import { html } from "../../vendor/preact.js";
import { set } from "../core/store.js";
import { Dialog } from "./dialog.js";
import { Icon } from "./icons.js";

const KEYS = [
  [
    "Everywhere",
    [
      ["/", "search"],
      ["?", "this help"],
      ["Esc", "leave what is open"],
      ["t x e h v", "trace, tests, edit, history, events"],
      ["g", "to the picture"],
    ],
  ],
  [
    "In the picture",
    [
      ["← ↑ → ↓", "to the next node"],
      ["Enter", "choose it"],
      ["+ −", "closer, farther"],
      ["0", "all of it"],
      ["z", "the chosen one, near"],
      ["Shift + ← ↑ → ↓", "move the picture"],
    ],
  ],
  [
    "With the mouse",
    [
      ["drag", "move"],
      ["wheel, pinch", "zoom"],
      ["click", "choose; the background: nothing"],
      ["double click", "all of it"],
    ],
  ],
];

export function Help() {
  return html`<${Dialog} label="keys"><header class="panel-head"><h2>Keys</h2>
    <button class="icon-button" onClick=${() => set({ dialog: "" })} aria-label="close"><${Icon} name="close" /></button></header>
    <div class="help">${KEYS.map(([title, keys]) => html`<section><h3>${title}</h3><dl>${/** @type {string[][]} */ (keys).map(([key, does]) => html`<dt><kbd>${key}</kbd></dt><dd>${does}</dd>`)}</dl></section>`)}</div>
    <p class="soft">What this page does, the command does too: <code>sdn trace</code>, <code>sdn test</code>, <code>sdn apply</code>, <code>sdn history</code>, <code>sdn events</code>.</p>
  <//>`;
}
