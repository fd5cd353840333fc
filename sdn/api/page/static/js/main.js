/**
 * The page begins here: the views are drawn, and the lab is followed.
 */
import { html, render } from "../vendor/preact.js";
import { followAddress } from "./lab/choose.js";
import { followCounters } from "./lab/counters.js";
import { followEvents } from "./lab/live.js";
import { App } from "./ui/app.js";
import { followKeys } from "./ui/keys.js";

followAddress();
followKeys();
render(html`<${App} />`, /** @type {Element} */ (document.getElementById("app")));
followEvents();
followCounters();
