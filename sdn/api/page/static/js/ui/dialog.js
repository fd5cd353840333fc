/**
 * What lies over the page: it takes the focus, keeps it, and gives it back.
 */
import { html, useLayoutEffect, useRef } from "../../vendor/preact.js";
import { set } from "../core/store.js";

/** @param {{label: string, kind?: string, stays?: boolean, children?: any}} props  `stays`: it cannot be dismissed */
export function Dialog({ label, kind = "", stays = false, children }) {
  const dialog = useRef(/** @type {any} */ (null));
  useLayoutEffect(() => {
    // at once: whoever types on gets nothing lost
    const before = /** @type {HTMLElement|null} */ (document.activeElement);
    dialog.current.showModal();
    return () => before?.focus?.();
  }, []);
  const leave = () => stays || set({ dialog: "" });
  return html`<dialog ref=${dialog} class=${`dialog ${kind}`} aria-label=${label} onCancel=${(/** @type {Event} */ event) => (event.preventDefault(), leave())}
    onClick=${(/** @type {MouseEvent} */ event) => event.target === dialog.current && leave()}><div class="dialog-body">${children}</div></dialog>`;
}
