/**
 * A plan: the steps from what runs to what is wanted, whom each disturbs, and how many flows change where.
 */
import { html } from "../../vendor/preact.js";
import { count } from "../core/format.js";
import { Empty } from "./parts.js";

const SIGNS = /** @type {Record<string, [string, string]>} */ ({
  add: ["+", "is-add"],
  change: ["~", "is-change"],
  remove: ["−", "is-remove"],
});

/** @param {any} plan */
export const isEmpty = (plan) => !plan.steps.length && !flowsOf(plan).length;

/** By chassis; as [added, changed, removed] or by those names. @param {any} plan @returns {[string, number[]][]} */
function flowsOf(plan) {
  const counts = Object.entries(plan.flows ?? {}).map(
    ([chassis, each]) => /** @type {[string, number[]]} */ ([chassis, numbers(each)]),
  );
  return counts.filter(([, each]) => each.some(Boolean));
}

/** @param {any} each */
const numbers = (each) =>
  Array.isArray(each)
    ? each
    : [each.added ?? each.add ?? 0, each.changed ?? each.change ?? 0, each.removed ?? each.remove ?? 0];

/** @param {{plan: any}} props */
export function Plan({ plan }) {
  if (isEmpty(plan))
    return html`<${Troubles} lines=${plan.troubles ?? []} /><${Empty} title="Nothing to do" hint="The lab is already so." />`;
  const verbs = (/** @type {string} */ verb) =>
    plan.steps.filter((/** @type {any} */ step) => step.verb === verb).length;
  const disturbing = plan.steps.filter((/** @type {any} */ step) => step.disturbs).length;
  return html`<div class="plan" aria-label="plan"><${Troubles} lines=${plan.troubles ?? []} />
    <p class="plan-sum"><b class="good">+${verbs("add")}</b> <b class="warn">~${verbs("change")}</b> <b class="bad">−${verbs("remove")}</b>
      <span class=${disturbing ? "warn" : "soft"}>${disturbing ? `${disturbing} of ${plan.steps.length} steps disturb something` : "nothing is disturbed"}</span></p>
    <ol class="steps">${plan.steps.map((/** @type {any} */ step) => html`<${Step} step=${step} />`)}</ol>
    <${Flows} flows=${flowsOf(plan)} />
  </div>`;
}

/** What is wrong whatever is applied. @param {{lines: string[]}} props */
const Troubles = ({ lines }) =>
  lines.length
    ? html`<div class="notice"><b>As it runs, the lab is not whole:</b>${lines.map((line) => html`<p>${line}</p>`)}</div>`
    : null;

/** @param {{sign: string, style: string, value: number}} props */
const Number = ({ sign, style, value }) =>
  html`<td class=${`number ${value ? style : "soft"}`}>${value ? `${sign}${count(value)}` : "0"}</td>`;

/** @param {{step: any}} props */
function Step({ step }) {
  const [sign, style] = SIGNS[step.verb] ?? ["·", ""];
  return html`<li class=${style}><span class="sign" aria-label=${step.verb}>${sign}</span><span class="what">${step.what} <span class="soft">on ${step.where}</span></span>
    <span class="why">${step.why}</span>${step.disturbs && html`<span class="disturbs">${step.disturbs}</span>`}</li>`;
}

/** @param {{flows: [string, number[]][]}} props */
function Flows({ flows }) {
  if (!flows.length) return null;
  return html`<table class="list flow-counts"><thead><tr><th>flows on</th><th class="number">added</th><th class="number">changed</th><th class="number">removed</th></tr></thead>
    <tbody>${flows.map(([chassis, [add, change, remove]]) => html`<tr><td>${chassis}</td><${Number} sign="+" style="good" value=${add} /><${Number} sign="~" style="warn" value=${change} /><${Number} sign="−" style="bad" value=${remove} /></tr>`)}</tbody></table>`;
}
