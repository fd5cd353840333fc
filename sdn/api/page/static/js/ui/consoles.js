/**
 * Consoles of guests: a drawer below the picture, a tab for each.
 *
 * Enters: what the guest prints, over a websocket. Leaves: what is typed. Never: the terminal's code before somebody
 * opens a console: it is the largest file of the page.
 */
import { html, useRef, useState } from "../../vendor/preact.js";
import { set, use } from "../core/store.js";
import { closeConsole } from "../lab/choose.js";
import { Icon } from "./icons.js";
import { Terminal } from "./terminal.js";

const LOWEST = 140; // pixels

export function Consoles() {
  const open = use((s) => s.consoles);
  const shown = use((s) => s.console);
  const [height, setHeight] = useState(300);
  if (!open.length) return null;
  return html`<section class="drawer" style=${{ height: `${height}px` }} aria-label="consoles">
    <${Grip} height=${height} onChange=${setHeight} />
    <div class="tabs" role="tablist">${open.map(
      (guest) => html`<div class=${`tab ${guest === shown ? "is-shown" : ""}`}>
      <button role="tab" aria-selected=${guest === shown} onClick=${() => set({ console: guest })}><${Icon} name="terminal" size=${14} /> ${guest}</button>
      <button class="icon-button" aria-label=${`close the console of ${guest}`} onClick=${() => closeConsole(guest)}><${Icon} name="close" size=${13} /></button></div>`,
    )}</div>
    ${open.map((guest) => html`<${Terminal} key=${guest} guest=${guest} shown=${guest === shown} />`)}
  </section>`;
}

/** Its upper edge can be moved, by the arrow keys too. @param {{height: number, onChange: (height: number) => void}} props */
function Grip({ height, onChange }) {
  const start = useRef(/** @type {{y: number, height: number}|null} */ (null));
  const most = () => window.innerHeight - 200;
  const to = (/** @type {number} */ wanted) => onChange(Math.min(Math.max(wanted, LOWEST), most()));
  const key = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "ArrowUp") to(height + 24);
    else if (event.key === "ArrowDown") to(height - 24);
  };
  return html`<div class="grip" role="separator" tabindex="0" aria-orientation="horizontal" aria-valuenow=${height} aria-label="height of the consoles" onKeyDown=${key}
    onPointerDown=${(/** @type {any} */ event) => ((start.current = { y: event.clientY, height }), event.currentTarget.setPointerCapture(event.pointerId))}
    onPointerMove=${(/** @type {any} */ event) => start.current && to(start.current.height + start.current.y - event.clientY)}
    onPointerUp=${() => (start.current = null)}></div>`;
}
