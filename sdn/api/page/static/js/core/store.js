/**
 * The one store of state. Views read it with `use`, everything else with `state`; only `set` changes it.
 *
 * Enters: partial states. Leaves: a call of each subscriber whose part has changed. Never: the network, the document.
 */
import { useEffect, useReducer, useRef } from "../../vendor/preact.js";

/**
 * @typedef {{kind: string, name: string}} Ref  an object of the lab
 * @typedef {Record<string, any> & {name: string, source?: string, status?: any}} Resource
 * @typedef {"chassis"|"physnets"|"networks"|"nodes"|"guests"|"ports"|"tests"} Kind
 */
export const KINDS = /** @type {Kind[]} */ (["chassis", "physnets", "networks", "nodes", "guests", "ports", "tests"]);

export const state = {
  /** @type {"loading"|"live"|"away"|"denied"} how the page stands with the server */
  connection: "loading",
  /** why the connection is away, in words */
  reason: "",
  lab: "",
  revision: 0,
  /** @type {Record<Kind, Map<string, Resource>>} */
  objects: /** @type {any} */ (Object.fromEntries(KINDS.map((kind) => [kind, new Map()]))),
  loaded: false,
  /** @type {Map<string, string>} what a network's line is drawn with, by its name: classes of the picture */
  colours: new Map(),
  /** @type {Ref|null} */
  selection: null,
  /** @type {string} the view on the left, "" for none */
  view: "",
  /** @type {any[]} the newest event last */
  events: [],
  /** @type {Map<string, import("../lab/counters.js").Rate>} by interface */
  rates: new Map(),
  /** @type {Map<string, import("../lab/counters.js").Rate>} by tunnel port (hv1:vxlan) or uplink (hv1--office) */
  outlets: new Map(),
  /** @type {Set<string>} those without a carrier */
  outletsDown: new Set(),
  /** @type {{request: any, result: any, error: any, pending: boolean, hop: number}} */
  trace: { request: { from: "", to: "", protocol: "icmp" }, result: null, error: null, pending: false, hop: -1 },
  /** @type {{result: any, error: any, pending: boolean}} */
  tests: { result: null, error: null, pending: false },
  /** @type {string[]} guests whose console is open */
  consoles: [],
  console: "",
  /** @type {""|"help"|"token"|"search"} */
  dialog: "",
};

/** @type {Set<() => void>} */
const subscribers = new Set();

/** @param {Partial<typeof state>} change */
export function set(change) {
  Object.assign(state, change);
  for (const subscriber of [...subscribers]) subscriber();
}

/**
 * Calls `told` now and whenever what `select` gives is another.
 * @template T
 * @param {(s: typeof state) => T} select
 * @param {(value: T) => void} told
 */
export function watch(select, told) {
  let before = select(state);
  told(before);
  const check = () => {
    const now = select(state);
    if (!Object.is(now, before)) told((before = now));
  };
  subscribers.add(check);
  return () => subscribers.delete(check);
}

/**
 * A view's look at the state: it is drawn again when what `select` gives is another.
 * @template T
 * @param {(s: typeof state) => T} select
 * @returns {T}
 */
export function use(select) {
  const [, again] = useReducer((/** @type {number} */ n) => n + 1, 0);
  const value = select(state);
  const seen = useRef(value);
  const selector = useRef(select);
  seen.current = value;
  selector.current = select;
  useEffect(() => {
    const check = () => {
      if (!Object.is(selector.current(state), seen.current)) again(0);
    };
    check();
    subscribers.add(check);
    return () => subscribers.delete(check);
  }, []);
  return value;
}
