/**
 * Where everything is: header, views at the left, the picture, the chosen thing at the right, consoles below.
 */
import { html } from "../../vendor/preact.js";
import { set, use } from "../core/store.js";
import { select, toggleView } from "../lab/choose.js";
import { Consoles } from "./consoles.js";
import { Edit } from "./edit.js";
import { Events } from "./events.js";
import { Graph } from "./graph.js";
import { Header } from "./header.js";
import { Help } from "./help.js";
import { History } from "./history.js";
import { Icon } from "./icons.js";
import { Inspector } from "./inspector.js";
import { Panel } from "./parts.js";
import { Search } from "./search.js";
import { Tests } from "./tests.js";
import { Token } from "./token.js";
import { Trace } from "./trace.js";

/** @type {{name: string, title: string, key: string, icon: any, view: any}[]} */
export const VIEWS = [
  { name: "trace", title: "Trace", key: "t", icon: "trace", view: Trace },
  { name: "tests", title: "Tests", key: "x", icon: "tests", view: Tests },
  { name: "edit", title: "Edit", key: "e", icon: "edit", view: Edit },
  { name: "history", title: "History", key: "h", icon: "history", view: History },
  { name: "events", title: "Events", key: "v", icon: "events", view: Events },
];

export function App() {
  const open = use((s) => s.view);
  const dialog = use((s) => s.dialog);
  const selection = use((s) => s.selection);
  const view = VIEWS.find((each) => each.name === open);
  return html`<${Header} />
    <${Banner} />
    <div class=${`work ${view ? `has-view is-${view.name}` : ""} ${selection ? "has-selection" : ""}`}>
      <${Rail} open=${open} />
      ${view && html`<aside class="side side-view"><${Panel} title=${view.title} id="view" onClose=${() => toggleView(open)} key=${view.name}><${view.view} /><//></aside>`}
      <div class="middle"><${Graph} /><${Consoles} /></div>
      ${selection && html`<aside class="side side-inspector"><${Inspector} at=${selection} onClose=${() => select(null)} /></aside>`}
    </div>
    ${dialog === "help" && html`<${Help} />`}
    ${dialog === "search" && html`<${Search} />`}
    ${dialog === "token" && html`<${Token} />`}`;
}

/** @param {{open: string}} props */
function Rail({ open }) {
  return html`<nav class="rail-nav" aria-label="views">
    ${VIEWS.map(
      (
        each,
      ) => html`<button class=${each.name === open ? "is-open" : ""} aria-pressed=${each.name === open} onClick=${() => toggleView(each.name)} title=${`${each.title} (${each.key})`}>
      <${Icon} name=${each.icon} size=${20} /><span>${each.title}</span></button>`,
    )}
    <button class="rail-end" onClick=${() => set({ dialog: "help" })} title="keys (?)"><${Icon} name="help" size=${20} /><span>Help</span></button>
  </nav>`;
}

/** While the server is gone. */
function Banner() {
  const connection = use((s) => s.connection);
  const reason = use((s) => s.reason);
  if (connection !== "away") return null;
  return html`<div class="banner" role="status"><span class="spinner" aria-hidden="true"></span>
    <b>Not connected</b> ${reason}; what you see may be old. Trying again…</div>`;
}
