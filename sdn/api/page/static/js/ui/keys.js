/**
 * Keys that work everywhere on the page, except while something is typed.
 */
import { set, state } from "../core/store.js";
import { select, toggleView } from "../lab/choose.js";

const VIEW_KEYS = /** @type {Record<string, string>} */ ({
  t: "trace",
  x: "tests",
  e: "edit",
  h: "history",
  v: "events",
});

export function followKeys() {
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !isConsole(event.target)) return leave();
    if (isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") set({ dialog: "search" });
    else if (event.key === "?") set({ dialog: state.dialog === "help" ? "" : "help" });
    else if (event.key in VIEW_KEYS) go(VIEW_KEYS[event.key]);
    else if (event.key === "g") /** @type {HTMLElement|null} */ (document.querySelector(".graph"))?.focus();
    else return;
    event.preventDefault();
  });
}

/** The topmost thing that can be left. */
function leave() {
  if (state.dialog) set({ dialog: state.dialog === "token" ? "token" : "" });
  else if (state.trace.result) set({ trace: { ...state.trace, result: null, error: null } });
  else if (state.selection) select(null);
  else if (state.view) go(state.view);
}

/**
 * Opens or closes a view, and takes the keys along: to what can be typed into there, else to what can be pressed, or
 * back to the picture.
 * @param {string} view
 */
function go(view) {
  toggleView(view);
  requestAnimationFrame(() => {
    const inside = ["input, textarea, select", "button"].map((what) => document.querySelector(`.side-view .panel-body :is(${what})`));
    const target = inside.find(Boolean) ?? document.querySelector(".side-view button") ?? document.querySelector(".graph");
    /** @type {HTMLElement|null} */ (target)?.focus();
  });
}

/** @param {EventTarget|null} target */
const isTyping = (target) =>
  target instanceof Element && !!target.closest("input, textarea, select, [contenteditable], .console-view");

/** @param {EventTarget|null} target */
const isConsole = (target) => target instanceof Element && !!target.closest(".console-view");
