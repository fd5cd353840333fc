/**
 * What is chosen: an object of the lab, a view. Both are in the address, so that a page can be sent to a colleague.
 *
 * Enters: clicks, keys, the address. Leaves: the store's `selection` and `view`; the address.
 */
import { set, state, watch } from "../core/store.js";

/** @param {import("../core/store.js").Ref|null} ref */
export function select(ref) {
  const same = ref && state.selection && ref.kind === state.selection.kind && ref.name === state.selection.name;
  if (!same) set({ selection: ref });
}

/** As `select`, and the picture goes there. @param {import("../core/store.js").Ref} ref */
export function goTo(ref) {
  select(ref);
  dispatchEvent(new Event("sdn-close-up"));
}

/** Opens it, or closes it where it is open. @param {string} view */
export const toggleView = (view) => set({ view: state.view === view ? "" : view });

/** @param {string} guest */
export function openConsole(guest) {
  const consoles = state.consoles.includes(guest) ? state.consoles : [...state.consoles, guest];
  set({ consoles, console: guest });
}

/** @param {string} guest */
export function closeConsole(guest) {
  const consoles = state.consoles.filter((name) => name !== guest);
  set({ consoles, console: state.console === guest ? (consoles.at(-1) ?? "") : state.console });
}

export function followAddress() {
  const read = () => {
    const said = new URLSearchParams(location.hash.slice(1));
    const [kind, ...name] = (said.get("at") ?? "").split(":");
    set({ view: said.get("view") ?? "", selection: name.length ? { kind, name: name.join(":") } : null });
  };
  read();
  addEventListener("hashchange", read);
  const write = () => {
    const said = new URLSearchParams();
    if (state.view) said.set("view", state.view);
    if (state.selection) said.set("at", `${state.selection.kind}:${state.selection.name}`);
    history.replaceState(null, "", said.size ? `#${said}` : location.pathname);
  };
  watch((s) => s.view, write);
  watch((s) => s.selection, write);
}
