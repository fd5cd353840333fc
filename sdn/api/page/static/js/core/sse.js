/**
 * Server-sent events over fetch: unlike EventSource it says why it failed, sends Last-Event-ID as we wish, and can be
 * paused. (WHATWG HTML, section 9.2.6: how a stream is read.)
 *
 * Enters: a path. Leaves: calls of `onEvent`, `onState`. Never: silence after a cut: it connects again, at first after
 * a quarter of a second, at last every five.
 */
const FIRST_WAIT = 250;
const LONGEST_WAIT = 5000;

/**
 * @param {string} path
 * @param {{onEvent: (event: {id: string, kind: string, data: string}) => void,
 *          onState: (state: "open"|"away"|"denied", why: string) => void, resume?: boolean}} told
 * @returns {() => void} ends it
 */
export function follow(path, told) {
  const control = new AbortController();
  run(path, told, control.signal);
  return () => control.abort();
}

/** @param {string} path @param {Parameters<typeof follow>[1]} told @param {AbortSignal} signal */
async function run(path, told, signal) {
  let last = "";
  let wait = FIRST_WAIT;
  while (!signal.aborted) {
    try {
      const headers = last && told.resume ? { "Last-Event-ID": last } : undefined;
      const answer = await fetch(path, { headers, signal, cache: "no-store" });
      if (answer.status === 401) return told.onState("denied", "a token is needed");
      if (!answer.ok || !answer.body) throw new Error(`the server answered ${answer.status}`);
      told.onState("open", "");
      wait = FIRST_WAIT;
      await read(answer.body, (event) => {
        last = event.id || last;
        try {
          told.onEvent(event);
        } catch (error) {
          reportError(error); // a fault of the page is no fault of the stream
        }
      });
      throw new Error("the server ended the stream");
    } catch (error) {
      if (signal.aborted) return;
      told.onState(
        "away",
        error instanceof TypeError ? "the server does not answer" : String(/** @type {any} */ (error).message),
      );
    }
    await pause(wait, signal);
    wait = Math.min(wait * 2, LONGEST_WAIT);
  }
}

/** @param {ReadableStream<Uint8Array>} body @param {(event: {id: string, kind: string, data: string}) => void} onEvent */
async function read(body, onEvent) {
  const reader = body.pipeThrough(/** @type {any} */ (new TextDecoderStream())).getReader();
  let rest = "";
  let event = { id: "", kind: "message", data: "" };
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r\n|\n|\r/);
    rest = /** @type {string} */ (lines.pop());
    for (const line of lines) {
      if (line) event = withField(event, line);
      else {
        if (event.data) onEvent({ ...event, data: event.data.slice(0, -1) });
        event = { id: "", kind: "message", data: "" };
      }
    }
  }
}

/** @param {{id: string, kind: string, data: string}} event @param {string} line */
function withField(event, line) {
  const colon = line.indexOf(":");
  const field = colon < 0 ? line : line.slice(0, colon);
  const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
  if (field === "data") return { ...event, data: `${event.data}${value}\n` };
  if (field === "event") return { ...event, kind: value };
  if (field === "id") return { ...event, id: value };
  return event;
}

/** @param {number} milliseconds @param {AbortSignal} signal */
function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds, undefined);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve(undefined)), { once: true });
  });
}
