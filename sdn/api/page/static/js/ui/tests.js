/**
 * Tests of the topology file: run, and shown as a table of who reaches whom, with the reasons of what failed.
 */
import { html, useState } from "../../vendor/preact.js";
import { duration, place, plural } from "../core/format.js";
import { post } from "../core/http.js";
import { set, state, use } from "../core/store.js";
import { Matrix, Mesh } from "./matrix.js";
import { Empty, Failure, Loading } from "./parts.js";

/** @param {{only?: string, matrix?: boolean}} wanted */
async function run(wanted) {
  set({ tests: { ...state.tests, pending: true, error: null } });
  try {
    set({ tests: { result: await post("/v1/test", wanted), error: null, pending: false } });
  } catch (error) {
    set({ tests: { ...state.tests, error, pending: false } });
  }
}

export function Tests() {
  const written = use((s) => s.objects.tests);
  const { result, error, pending } = use((s) => s.tests);
  const failed = result?.tests.filter((/** @type {any} */ test) => !test.passed) ?? [];
  return html`<div class="form-row is-bar">${written.size > 0 && html`<button class="primary" onClick=${() => run({})} disabled=${pending} id="run-tests">Run ${plural(written.size, "test")}</button>`}
      <button onClick=${() => run({ matrix: true })} disabled=${pending} id="run-matrix" title="Ping every node from every other, beside the file's tests">Every node to every other</button>
      ${result && !pending && html`<span class=${failed.length ? "bad" : "good"} role="status">${failed.length ? `${failed.length} of ${result.tests.length} failed` : result.tests.length ? `${plural(result.tests.length, "test")} passed` : `${plural(result.matrix?.length ?? 0, "pair")} tried`} in ${duration(result.seconds)}</span>`}
    </div>
    ${!written.size && html`<${Empty} title="The file has no tests" hint=${html`Under <code>tests:</code> it can say who reaches whom: <code>mesh: {from: web*, to: web*, ping: ok}</code>`} />`}
    ${pending && html`<${Loading} label="real packets are on their way" />`}
    <${Failure} error=${error} />
    ${!result && !pending && html`<table class="list"><tbody>${[...written.values()].map((test) => html`<tr><td><b>${test.name}</b></td><td class="soft">${said(test)}</td><td class="mono soft" title=${test.source}>${place(test.source)}</td></tr>`)}</tbody></table>`}
    ${result?.matrix && html`<h3>Every node to every other</h3><${Mesh} pairs=${result.matrix} />`}
    ${result?.tests.length > 0 && html`<${Results} result=${result} />`}`;
}

/** @param {any} test */
function said(test) {
  const { probe, expect } = meaning(test);
  return `${test.from.length} × ${test.to.length} nodes, ${probe}, expected ${expect === "ok" ? "to reach" : "not to reach"}`;
}

/** What the file's words mean. @param {any} test */
function meaning(test) {
  if (test.ping) return { probe: "ping", expect: test.ping };
  const probe = test.tcp ? `tcp/${test.tcp}` : `udp/${test.udp}`;
  return { probe, expect: test.expect === "denied" ? "fail" : "ok" };
}

/** @param {{result: any}} props */
function Results({ result }) {
  const [chosen, choose] = useState("");
  const shown =
    result.tests.find((/** @type {any} */ test) => test.name === chosen) ??
    result.tests.find((/** @type {any} */ test) => !test.passed) ??
    result.tests[0];
  return html`<table class="list is-choice"><tbody>${result.tests.map(
    (/** @type {any} */ test) => html`<tr class=${test === shown ? "is-chosen" : ""} onClick=${() => choose(test.name)}>
      <td><span class=${test.passed ? "mark good" : "mark bad"}>${test.passed ? "✓" : "✗"}</span> <button class="link">${test.name}</button></td>
      <td class="soft">${test.probe}${test.port ? `/${test.port}` : ""} ${test.expect === "ok" ? "reaches" : "denied"}</td>
      <td class="number">${test.passed_pairs}/${test.pairs}</td></tr>`,
  )}</tbody></table>
  <${Matrix} test=${shown} />
  ${shown.explanation.length > 0 && html`<div class="explanation" aria-label="why it failed">${shown.explanation.map((/** @type {string} */ line) => html`<p class=${line.startsWith(" ") ? "is-reason" : ""}>${line}</p>`)}</div>`}`;
}
