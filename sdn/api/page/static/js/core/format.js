/**
 * Numbers and times as people read them. Pure.
 */
const UNITS = ["", "k", "M", "G", "T"];

/** 1234567 → "1.2 M". @param {number} value @param {string} unit */
export function scaled(value, unit) {
  let size = value;
  let i = 0;
  while (Math.abs(size) >= 999.5 && i < UNITS.length - 1) {
    size /= 1000;
    i += 1;
  }
  const digits = i === 0 || size >= 99.5 ? 0 : 1;
  return `${size.toFixed(digits)} ${UNITS[i]}${unit}`;
}

/** @param {number} bytesPerSecond */
export const rate = (bytesPerSecond) => scaled(bytesPerSecond * 8, "bit/s");

/** @param {number} bytes */
export const bytes = (bytes) => scaled(bytes, "B");

/** @param {number} value */
export const count = (value) => value.toLocaleString("en");

/** Memory is in powers of two. @param {number} bytes */
export const memory = (bytes) => (bytes % 2 ** 30 ? `${Math.round(bytes / 2 ** 20)} MiB` : `${bytes / 2 ** 30} GiB`);

/** Of a long path its last part: "overlay.yaml:19:3". @param {string|undefined} source */
export const place = (source = "") => source.slice(source.lastIndexOf("/") + 1);

/** @param {number} n @param {string} one @param {string} [many] */
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** @param {string} moment as RFC 3339 has it */
export function clock(moment) {
  const at = new Date(moment);
  return at.toLocaleTimeString("en-GB") + "." + String(at.getMilliseconds()).padStart(3, "0");
}

/** How long ago. @param {string|number} moment as RFC 3339 has it, or milliseconds since the epoch */
export function ago(moment) {
  const gone = Math.max(0, Date.now() - new Date(moment).getTime()) / 1000;
  if (gone < 60) return "just now";
  if (gone < 3600) return `${Math.floor(gone / 60)} min ago`;
  if (gone < 86400) return `${Math.floor(gone / 3600)} h ago`;
  return new Date(moment).toLocaleDateString("en-GB");
}

/** @param {number} seconds */
export const duration = (seconds) => (seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(2)} s`);
