/**
 * Icons, drawn for this page: strokes on a grid of 20. Pure.
 */
import { html } from "../../vendor/preact.js";

const PATHS = {
  trace: "M4.5 17a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM15.5 7a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM6.5 15h5a3 3 0 0 0 3-3V7",
  tests: "M3 5h14M3 10h14M3 15h14M8 3v14M13 3v14",
  edit: "M4 16l1-4 8.5-8.5a1.8 1.8 0 0 1 3 3L8 15z M12 5l3 3",
  history: "M4 10a6 6 0 1 0 2-4.5M4 3v3.5h3.5M10 7v3.5l2.5 1.5",
  events: "M3 11h3l2-6 4 11 2-5h3",
  close: "M5 5l10 10M15 5L5 15",
  search: "M9 14.5a5.5 5.5 0 1 0 0-11 5.5 5.5 0 0 0 0 11zM13 13l4 4",
  help: "M7.5 7.5a2.5 2.5 0 1 1 3.6 2.2c-.8.4-1.1.9-1.1 1.8M10 14.5v.1",
  sun: "M10 13.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.3 4.3l1.1 1.1M14.6 14.6l1.1 1.1M4.3 15.7l1.1-1.1M14.6 5.4l1.1-1.1",
  moon: "M16 12.5A6.5 6.5 0 0 1 7.5 4a6.5 6.5 0 1 0 8.5 8.5z",
  auto: "M10 17a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM10 3v14M10 6.5l4.5 4M10 10l3.5 4M10 3l5 4.5",
  plus: "M10 4v12M4 10h12",
  minus: "M4 10h12",
  fit: "M3 7V3h4M13 3h4v4M17 13v4h-4M7 17H3v-4",
  terminal: "M3 5h14v10H3zM6 8l2 2-2 2M10 12h3",
  pause: "M7 5v10M13 5v10",
  play: "M6 4l10 6-10 6z",
  undo: "M7 4L3 8l4 4M3 8h9a4.5 4.5 0 0 1 0 9H8",
  down: "M5 8l5 5 5-5",
  swap: "M4 7h11l-3-3M16 13H5l3 3",
};

/** @param {{name: keyof typeof PATHS, size?: number}} props */
export function Icon({ name, size = 18 }) {
  return html`<svg class="icon" width=${size} height=${size} viewBox="0 0 20 20" aria-hidden="true"><path d=${PATHS[name]} /></svg>`;
}
