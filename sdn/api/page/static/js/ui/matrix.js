/**
 * Who reaches whom, of one test or of all nodes: by node, or by network where there are too many nodes for a table.
 */
import { html } from "../../vendor/preact.js";
import { state, use } from "../core/store.js";
import { traceFrom } from "./trace.js";

const MOST = 36;

/** What became of a pair; the sign says it without colour. */
const SIGNS = /** @type {const} */ ({
  reaches: ["●", "reaches, as it shall"],
  denied: ["·", "does not reach, as it shall"],
  lost: ["✗", "does not reach, though it shall"],
  leaks: ["!", "reaches, though it shall not"],
  beyond: ["○", "reaches beyond its networks"],
  untried: ["?", "was not tried"],
});
/** @typedef {keyof typeof SIGNS} Outcome */
/** @type {Record<string, Outcome>} what POST /v1/test says of a pair, where it is no outcome's own name */
const SAID = { "reaches beyond its networks": "beyond", "not tried": "untried" };

/** @param {{test: any}} props */
export function Matrix({ test }) {
  const written = use((s) => s.objects.tests).get(test.name);
  if (!written) return null;
  const failed = new Set(test.failures.map((/** @type {any} */ each) => `${nodeOf(each.from)} ${nodeOf(each.to)}`));
  const outcome = (/** @type {string} */ a, /** @type {string} */ b) =>
    test.expect === "ok"
      ? failed.has(`${a} ${b}`)
        ? "lost"
        : "reaches"
      : failed.has(`${a} ${b}`)
        ? "leaks"
        : "denied";
  const protocol = test.probe === "ping" ? "icmp" : `${test.probe}/${test.port}`;
  return html`<${Pairs} label=${`test ${test.name}`} protocol=${protocol} from=${written.from} to=${written.to} outcome=${outcome} />`;
}

/** Of every node to every other. @param {{pairs: {from: string, to: string, result: string}[]}} props */
export function Mesh({ pairs }) {
  const found = new Map(pairs.map(({ from, to, result }) => [`${from} ${to}`, SAID[result] ?? result]));
  const nodes = [...new Set(pairs.flatMap(({ from, to }) => [from, to]))];
  const outcome = (/** @type {string} */ a, /** @type {string} */ b) =>
    /** @type {Outcome} */ (found.get(`${a} ${b}`) ?? "untried");
  return html`<${Pairs} label="every node" protocol="icmp" from=${nodes} to=${nodes} outcome=${outcome} />`;
}

/** @typedef {(a: string, b: string) => Outcome} Of */

/** @param {{label: string, protocol: string, from: string[], to: string[], outcome: Of}} props */
function Pairs({ label, protocol, from, to, outcome }) {
  const small = from.length <= MOST && to.length <= MOST;
  const used = new Set(from.flatMap((a) => to.filter((b) => a !== b).map((b) => outcome(a, b))));
  return html`${small ? html`<${ByNode} label=${label} protocol=${protocol} from=${from} to=${to} outcome=${outcome} />` : html`<${ByNetwork} from=${from} to=${to} outcome=${outcome} />`}
    <p class="legend">${[...used].map((each) => html`<span><i class=${`cell is-${each}`}>${SIGNS[each][0]}</i> ${SIGNS[each][1]}</span>`)}</p>`;
}

/** @param {string} name of a port or a node */
const nodeOf = (name) => state.objects.ports.get(name)?.node ?? name;

/** @param {{label: string, protocol: string, from: string[], to: string[], outcome: Of}} props */
function ByNode({ label, protocol, from, to, outcome }) {
  const trace = (/** @type {string} */ a, /** @type {string} */ b) => {
    Object.assign(state.trace.request, { from: a, protocol });
    traceFrom("to", b);
  };
  return html`<div class="matrix-box"><table class="matrix" aria-label=${`${label}: who reaches whom`}>
    <thead><tr><th></th>${to.map((b) => html`<th scope="col"><span>${b}</span></th>`)}</tr></thead>
    <tbody>${from.map(
      (a) =>
        html`<tr><th scope="row">${a}</th>${to.map((b) => {
          if (a === b) return html`<td></td>`;
          const found = outcome(a, b);
          const [sign, words] = SIGNS[found];
          return html`<td><button class=${`cell is-${found}`} title=${`${a} → ${b} ${words}; trace it`} aria-label=${`${a} to ${b} ${words}`} onClick=${() => trace(a, b)}>${sign}</button></td>`;
        })}</tr>`,
    )}</tbody></table></div>`;
}

/** @param {{from: string[], to: string[], outcome: Of}} props */
function ByNetwork({ from, to, outcome }) {
  const home = new Map([...state.objects.ports.values()].reverse().map((port) => [port.node, port.network]));
  /** @type {Map<string, {a: string, b: string, pairs: number, wrong: number}>} */
  const sums = new Map();
  for (const x of from) {
    for (const y of to) {
      if (x === y) continue;
      const [a, b] = [home.get(x) ?? "", home.get(y) ?? ""];
      const sum = sums.get(`${a} ${b}`) ?? { a, b, pairs: 0, wrong: 0 };
      const found = outcome(x, y);
      sums.set(`${a} ${b}`, {
        ...sum,
        pairs: sum.pairs + 1,
        wrong: sum.wrong + Number(found === "lost" || found === "leaks"),
      });
    }
  }
  return html`<table class="list"><thead><tr><th>from network</th><th>to network</th><th class="number">pairs</th><th class="number">wrong</th></tr></thead>
    <tbody>${[...sums.values()].map(({ a, b, pairs, wrong }) => html`<tr><td>${a}</td><td>${b}</td><td class="number">${pairs}</td><td class=${`number ${wrong ? "bad" : "good"}`}>${wrong}</td></tr>`)}</tbody></table>`;
}
