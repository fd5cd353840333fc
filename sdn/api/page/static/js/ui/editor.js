/**
 * A text field with numbers of lines, where errors stand at their lines.
 *
 * Enters: a text, errors. Leaves: the text as it is typed. Never: colours of a syntax, or a tab that leaves the field
 * unless Esc was pressed before it.
 */
import { html, useEffect, useRef } from "../../vendor/preact.js";

const INDENT = "  ";

/** @typedef {{line?: number, column?: number, message: string}} Mistake */

/** @param {{text: string, mistakes: Mistake[], onInput: (text: string) => void, onSave: () => void}} props */
export function Editor({ text, mistakes, onInput, onSave }) {
  const field = useRef(/** @type {any} */ (null));
  const gutter = useRef(/** @type {any} */ (null));
  const lets = useRef(false);
  const placed = new Map(mistakes.filter((each) => each.line).map((each) => [each.line, each]));
  useEffect(() => {
    const [first] = placed.keys();
    if (first) goTo(field.current, text, first, placed.get(first)?.column ?? 1);
  }, [mistakes]);
  const scroll = () => (gutter.current.style.transform = `translateY(${-field.current.scrollTop}px)`);
  const key = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) onSave();
    else if (event.key === "Tab" && !event.shiftKey && !lets.current) insert(field.current, INDENT, onInput);
    else if (event.key === "Escape") lets.current = true;
    else return (lets.current = false);
    if (event.key !== "Escape") event.preventDefault();
    else event.stopPropagation();
  };
  const lines = text.split("\n").length;
  return html`<div class="editor">
    <div class="gutter" aria-hidden="true"><ol ref=${gutter}>${Array.from({ length: lines }, (_, i) => html`<li class=${placed.has(i + 1) ? "is-wrong" : ""} title=${placed.get(i + 1)?.message}>${i + 1}</li>`)}</ol></div>
    <textarea ref=${field} spellcheck=${false} wrap="off" aria-label="topology" aria-invalid=${mistakes.length > 0} aria-describedby="mistakes" value=${text}
      onInput=${(/** @type {any} */ event) => onInput(event.target.value)} onScroll=${scroll} onKeyDown=${key}></textarea>
  </div>
  ${mistakes.length > 0 && html`<ul class="mistakes" id="mistakes" role="alert">${mistakes.map((each) => html`<li><button class="link mono" onClick=${() => goTo(field.current, text, each.line ?? 1, each.column ?? 1)}>${each.line ? `${each.line}:${each.column ?? 1}` : "—"}</button> <span>${each.message}</span></li>`)}</ul>`}`;
}

/** Puts the cursor there, and the line into view. @param {HTMLTextAreaElement} field @param {string} text @param {number} line @param {number} column */
function goTo(field, text, line, column) {
  const before = text
    .split("\n")
    .slice(0, line - 1)
    .join("\n");
  const at = before.length + (line > 1 ? 1 : 0) + column - 1;
  field.focus();
  field.setSelectionRange(at, at);
  const height = parseFloat(getComputedStyle(field).lineHeight);
  field.scrollTop = Math.max(0, (line - 1) * height - field.clientHeight / 2);
}

/** @param {HTMLTextAreaElement} field @param {string} words @param {(text: string) => void} onInput */
function insert(field, words, onInput) {
  field.setRangeText(words, field.selectionStart, field.selectionEnd, "end");
  onInput(field.value);
}
