/**
 * One console: a terminal and its websocket (WS /v1/guests/NAME/console: bytes both ways).
 */
import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { watch } from "../core/store.js";

const AGAIN = 2000; // milliseconds
const COLOURS = {
  light: {
    background: "#ffffff",
    foreground: "#24292f",
    cursor: "#0b5fa5",
    selectionBackground: "#b6d7f5",
    black: "#24292f",
    white: "#6e7781",
    brightWhite: "#57606a",
    yellow: "#8a5a00",
    brightYellow: "#8a5a00",
    green: "#116329",
    brightGreen: "#1a7f37",
    cyan: "#1b7c83",
    brightCyan: "#1b7c83",
  },
  dark: { background: "#0d1117", foreground: "#e6edf3", cursor: "#58a6ff", selectionBackground: "#264f78" },
};

/** @param {{guest: string, shown: boolean}} props */
export function Terminal({ guest, shown }) {
  const place = useRef(/** @type {any} */ (null));
  const terminal = useRef(/** @type {any} */ (null));
  const [note, tell] = useState("opening the console");
  useEffect(() => {
    let end = () => {};
    let ended = false;
    load().then(
      (modules) => {
        if (!ended) end = start(modules, place.current, guest, tell, terminal);
      },
      () => tell("the terminal cannot be loaded"),
    );
    return () => ((ended = true), end());
  }, [guest]);
  useEffect(() => {
    if (shown && terminal.current) (terminal.current.fit(), terminal.current.focus());
  }, [shown]);
  return html`<div class="console-view" hidden=${!shown} role="tabpanel" aria-label=${`console of ${guest}`}><div class="console-place" ref=${place}></div>
    ${note && html`<p class="console-note" role="status">${note}</p>`}</div>`;
}

async function load() {
  const [xterm, fit] = await Promise.all([
    import("../../vendor/xterm.js"),
    import("../../vendor/addon-fit.js"),
    style(),
  ]);
  return { xterm, fit };
}

/** xterm's own style sheet, once. */
function style() {
  if (document.getElementById("xterm-style")) return null;
  const link = Object.assign(document.createElement("link"), {
    id: "xterm-style",
    rel: "stylesheet",
    href: new URL("../../vendor/xterm.css", import.meta.url).href,
  });
  return new Promise((resolve) => {
    link.onload = link.onerror = resolve;
    document.head.append(link);
  });
}

const theme = () => COLOURS[document.documentElement.dataset.theme === "dark" ? "dark" : "light"];

/** @param {any} modules @param {HTMLElement} place @param {string} guest @param {(note: string) => void} tell @param {{current: any}} handle */
function start({ xterm, fit }, place, guest, tell, handle) {
  const terminal = new xterm.Terminal({
    fontFamily: 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace',
    fontSize: 13,
    theme: theme(),
    scrollback: 5000,
    screenReaderMode: matchMedia("(prefers-reduced-motion: reduce)").matches,
    minimumContrastRatio: 4.5,
  });
  const addon = new fit.FitAddon();
  terminal.loadAddon(addon);
  terminal.open(place);
  terminal.focus();
  const refit = () => place.clientHeight && addon.fit();
  handle.current = { fit: refit, focus: () => terminal.focus() };
  const sizes = new ResizeObserver(refit);
  sizes.observe(place);
  const colours = new MutationObserver(() => (terminal.options.theme = theme()));
  colours.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  const hangUp = connect(guest, terminal, tell);
  return () => (hangUp(), sizes.disconnect(), colours.disconnect(), terminal.dispose());
}

/** Again, whenever the line is cut: a guest that is started again has the same name. @param {string} guest @param {any} terminal @param {(note: string) => void} tell */
function connect(guest, terminal, tell) {
  /** @type {WebSocket|null} */
  let line = null;
  let timer = 0;
  const open = () => {
    timer = 0;
    const url = new URL(`/v1/guests/${encodeURIComponent(guest)}/console`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    line = new WebSocket(url);
    line.binaryType = "arraybuffer";
    line.onopen = () => (tell(""), terminal.reset()); // the server says again what was printed last
    line.onmessage = ({ data }) => terminal.write(new Uint8Array(data));
    line.onclose = ({ reason }) => {
      tell(reason || "the console was closed; trying again…");
      timer = setTimeout(open, AGAIN);
    };
  };
  const typed = terminal.onData(
    (/** @type {string} */ data) => line?.readyState === WebSocket.OPEN && line.send(new TextEncoder().encode(data)),
  );
  const unwatch = watch(
    (s) => s.objects.guests.get(guest)?.status.phase,
    () => timer && (clearTimeout(timer), open()),
  );
  open();
  return () => {
    clearTimeout(timer);
    typed.dispose();
    unwatch();
    if (line) ((line.onclose = null), line.close());
  };
}
