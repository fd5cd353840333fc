/**
 * The prompt for a token, where the server wants one. It is given once, for a cookie that scripts cannot read.
 */
import { html, useRef, useState } from "../../vendor/preact.js";
import { request } from "../core/http.js";
import { Dialog } from "./dialog.js";
import { Failure } from "./parts.js";

export function Token() {
  const [failed, fail] = useState(/** @type {any} */ (null));
  const input = useRef(/** @type {any} */ (null));
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    try {
      const headers = { Authorization: `Bearer ${input.current.value.trim()}` };
      await request("/v1/session", { method: "POST", headers });
      location.reload();
    } catch (error) {
      fail(error);
    }
  };
  return html`<${Dialog} label="token" stays><form class="form" onSubmit=${submit}><h2>This lab wants a token</h2>
    <p class="soft">Made on its machine by <code>sdn token create NAME --role operate</code>.</p>
    <label class="field"><span>Token</span><input ref=${input} autofocus type="password" autocomplete="current-password" required /></label>
    <${Failure} error=${failed} /><button class="primary">Enter</button></form><//>`;
}
