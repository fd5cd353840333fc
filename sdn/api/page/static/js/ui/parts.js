/**
 * Small parts that several views are made of.
 */
import { html } from "../../vendor/preact.js";
import { use } from "../core/store.js";
import { select } from "../lab/choose.js";
import { isUp, object } from "../lab/objects.js";
import { Icon } from "./icons.js";

/** @param {{title: string, children?: any, hint?: any}} props */
export const Empty = ({ title, hint, children }) =>
  html`<div class="empty"><p class="empty-title">${title}</p>${hint && html`<p>${hint}</p>`}${children}</div>`;

/** @param {{label: string}} props */
export const Loading = ({ label }) =>
  html`<div class="loading" role="status"><span class="spinner" aria-hidden="true"></span>${label}</div>`;

/** What went wrong, and what helps. @param {{error: any}} props */
export function Failure({ error }) {
  if (!error) return null;
  const places = (error.errors ?? []).filter((/** @type {any} */ each) => each.message !== error.message);
  return html`<div class="failure" role="alert">
    <p class="failure-title">${error.message}</p>
    ${places.length > 0 && html`<ul>${places.map((/** @type {any} */ each) => html`<li><span class="mono">${each.line ? `${each.line}:${each.column}` : each.pointer}</span> ${each.message}</li>`)}</ul>`}
    ${error.remedy && html`<p class="failure-remedy">${error.remedy}</p>`}
  </div>`;
}

/** State never rests on colour alone. @param {{up: boolean|null, label?: string}} props */
export function State({ up, label }) {
  if (up === null) return label ? html`<span class="state is-idle"><i></i>${label}</span>` : null;
  return html`<span class=${`state ${up ? "is-up" : "is-down"}`}><i></i>${label ?? (up ? "up" : "down")}</span>`;
}

/** A name that leads to the thing. @param {{kind: string, name: string, short?: string}} props */
export function Link({ kind, name, short }) {
  const up = isUp(kind, object({ kind, name }));
  return html`<button class="link" onClick=${() => select({ kind, name })} title=${`${kind} ${name}`} aria-label=${short && name}>
    ${kind === "network" ? html`<${Swatch} network=${name} />` : up !== null && html`<i class=${up ? "dot is-up" : "dot is-down"}></i>`}${short ?? name}
  </button>`;
}

/** A network's colour, the same as in the picture. @param {{network: string}} props */
export function Swatch({ network }) {
  const line = use((s) => s.colours).get(network);
  return line
    ? html`<svg class="swatch" width="14" height="8" viewBox="0 0 14 8" aria-hidden="true"><path class=${line} d="M1 4h12" /></svg>`
    : null;
}

/** @param {{title: string, onClose: () => void, actions?: any, children?: any, id?: string}} props */
export function Panel({ title, onClose, actions, children, id }) {
  return html`<section class="panel" aria-label=${title} id=${id}>
    <header class="panel-head"><h2>${title}</h2><div class="panel-actions">${actions}
      <button class="icon-button" onClick=${onClose} aria-label=${`close ${title}`} title="close (Esc)"><${Icon} name="close" /></button></div></header>
    <div class="panel-body">${children}</div>
  </section>`;
}

const SAMPLES = 60; // of a sparkline

/** A line of the last minute. @param {{values: number[], label: string}} props */
export function Sparkline({ values, label }) {
  const [width, height, most] = [280, 40, Math.max(...values, 1)];
  const padded = [...Array(Math.max(SAMPLES - values.length, 0)).fill(0), ...values];
  const step = width / (padded.length - 1);
  const points = padded.map(
    (value, i) => `${(i * step).toFixed(1)},${(height - 2 - (value / most) * (height - 6)).toFixed(1)}`,
  );
  const area = `M${points.join("L")}L${width},${height}L0,${height}z`;
  return html`<svg class="sparkline" viewBox=${`0 0 ${width} ${height}`} preserveAspectRatio="none" role="img" aria-label=${label}>
    <path class="area" d=${area} /><polyline points=${points.join(" ")} /></svg>`;
}

/** A text field that completes. @param {any} props */
export function Field({ label, options, id, ...rest }) {
  return html`<label class="field"><span>${label}</span>
    <input list=${options && `${id}-options`} id=${id} autocomplete="off" spellcheck=${false} ...${rest} />
    ${options && html`<datalist id=${`${id}-options`}>${options.map((/** @type {string} */ option) => html`<option value=${option} />`)}</datalist>`}
  </label>`;
}
