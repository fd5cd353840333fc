/**
 * What each line of the picture carries, in bytes per second.
 *
 * Enters: the store's rates of ports, tunnel ports and uplinks. Leaves: `Loads`, to be asked by line: by what lies
 * beyond it, which exchanges with the rest at most what one side sends and the other receives. Never: more than was
 * counted.
 *
 * Switches count all networks of a tunnel port or uplink together: of that a network has at most what its own ports have.
 * Nobody counts for us at a chassis that others run, behind an uplink, at a gateway: they have what is sent and not
 * received, or received and not sent, if it is more than samples differ by that are not taken at one moment.
 */
import { state } from "../core/store.js";
import { interfaceOf } from "./counters.js";

const NOISE = 0.1; // of the larger of two sums

/** @typedef {{sent: number, received: number}} Load  into what connects them, and out of it */

/** @type {Load} */
const NONE = { sent: 0, received: 0 };

/** @param {Iterable<Load>} loads @returns {Load} */
function sum(loads) {
  const total = { ...NONE };
  for (const { sent, received } of loads) {
    total.sent += sent;
    total.received += received;
  }
  return total;
}

/** @param {Load} a @param {Load} b @returns {Load} */
const least = (a, b) => ({ sent: Math.min(a.sent, b.sent), received: Math.min(a.received, b.received) });

/** @param {Load} all @param {Load} part @returns {Load} */
const without = (all, part) => ({ sent: all.sent - part.sent, received: all.received - part.received });

/** @param {Load} load @returns {Load} */
const turned = ({ sent, received }) => ({ sent: received, received: sent });

/** What those have whom nobody counts. @param {Load} counted @returns {Load} */
function missing({ sent, received }) {
  const step = Math.abs(sent - received) > NOISE * Math.max(sent, received) ? sent - received : 0;
  return { sent: Math.max(-step, 0), received: Math.max(step, 0) };
}

/** @param {Load} a @param {Load} b */
const exchanged = (a, b) => Math.max(Math.min(a.sent, b.received) + Math.min(b.sent, a.received), 0);

/** What connects chassis: a network, a physical one, the underlay. */
class Fabric {
  /** @param {Map<string, Load|null>} chassis  null where nobody counts @param {boolean} isOpen  leads to others too */
  constructor(chassis, isOpen) {
    const counted = [...chassis.values()].filter((load) => load !== null);
    const rest = isOpen || counted.length < chassis.size ? missing(sum(counted)) : NONE;
    this.chassis = new Map([...chassis].map(([name, load]) => [name, load ?? rest]));
    this.total = sum([...this.chassis.values(), isOpen ? rest : NONE]);
  }

  /** @param {string} chassis */
  of = (chassis) => this.chassis.get(chassis) ?? NONE;

  /** @param {string[]} beyond */
  across(beyond) {
    const there = sum(beyond.map(this.of));
    return exchanged(there, without(this.total, there));
  }
}

/** @typedef {Map<string, Map<string, Load>>} Places  ports by chassis */

/** The lab's lines at one moment. */
export class Loads {
  constructor() {
    this.outlets = outlets();
    /** @type {Map<string, Places>} by network */
    this.places = new Map();
    /** @type {Map<string, string[]>} ports by interface */
    this.cables = new Map();
    /** @type {Map<string, Fabric>} */
    this.fabrics = new Map();
    for (const port of state.objects.ports.values()) this.plug(port);
  }

  /** @param {any} port */
  plug({ name, network, node, interface: device, status }) {
    const cable = `${node}:${device}`;
    const places = made(this.places, network, () => /** @type {Places} */ (new Map()));
    made(places, status.chassis, () => new Map()).set(name, state.rates.get(cable) ?? NONE);
    made(this.cables, cable, () => []).push(name);
  }

  /** What a port sends and receives. @param {any} port @returns {Load} */
  port = (port) => this.places.get(port.network)?.get(port.status.chassis)?.get(port.name) ?? NONE;

  /** On a port's own line: where several share a cable, what others on its network can have of it. @param {any} port */
  drop(port) {
    const { sent, received } = this.port(port);
    const isShared = (this.cables.get(interfaceOf(port))?.length ?? 0) > 1;
    return isShared ? this.inside(port.network, port.status.chassis, [port.name]) : sent + received;
  }

  /** On a piece of a network's line in a chassis. @param {string} network @param {string} chassis @param {string[]} beyond ports, and chassis */
  inside(network, chassis, beyond) {
    const ports = this.places.get(network)?.get(chassis) ?? new Map();
    const fabric = this.network(network);
    const own = fabric.of(chassis);
    const here = sum(ports.values());
    const there = sum(beyond.map((name) => ports.get(name) ?? NONE));
    const onward = sum(beyond.map(fabric.of));
    const back = without(without(fabric.total, onward), own);
    const gateway = state.objects.networks.get(network)?.forward ? missing(here) : NONE;
    return exchanged(
      sum([there, least(onward, turned(own))]),
      sum([without(here, there), least(back, turned(own)), gateway]),
    );
  }

  /** Between chassis. @param {string} network @param {string[]} beyond */
  between = (network, beyond) => this.network(network).across(beyond);

  /** Along the underlay ("") or a physical network. @param {string} physnet @param {string[]} beyond */
  along = (physnet, beyond) => this.wire(physnet).across(beyond);

  /** Down from a chassis to it. @param {string} physnet @param {string} chassis */
  foot(physnet, chassis) {
    const { sent, received } = this.wire(physnet).of(chassis);
    return sent + received;
  }

  /** @param {string} name */
  network(name) {
    return made(this.fabrics, name, () => {
      const places = this.places.get(name) ?? new Map();
      const chassis = [...places.keys()].map((each) => /** @type {const} */ ([each, this.outlet(name, each)]));
      return new Fabric(new Map(chassis), mediumOf(name).startsWith("--"));
    });
  }

  /** @param {string} physnet */
  wire(physnet) {
    return made(this.fabrics, `--${physnet}`, () => {
      const chassis = [...state.objects.chassis.keys()].map((name) => {
        const all = this.outlets.get(name) ?? new Map();
        const kinds = physnet ? [`--${physnet}`] : [...all.keys()].filter((kind) => !kind.startsWith("--"));
        return /** @type {const} */ ([name, isCounted(name) ? sum(kinds.map((kind) => all.get(kind) ?? NONE)) : null]);
      });
      return new Fabric(new Map(chassis), physnet !== "");
    });
  }

  /** What a chassis sends to others of a network, and receives. @param {string} network @param {string} chassis @returns {Load|null} */
  outlet(network, chassis) {
    if (!isCounted(chassis)) return null;
    const medium = mediumOf(network);
    const all = this.outlets.get(chassis);
    const own = all?.get(`${medium}:${network}`);
    if (own) return own;
    const shared = all?.get(medium) ?? NONE;
    const sharing = [...this.places].filter(([name, places]) => places.has(chassis) && usesOf(name).includes(medium));
    return sharing.length > 1 ? least(shared, sum(this.places.get(network)?.get(chassis)?.values() ?? [])) : shared;
  }
}

/** By chassis and kind: `vxlan`, `vxlan:web` of those that count it by network, or `--office`. @returns {Map<string, Map<string, Load>>} */
function outlets() {
  const found = new Map();
  for (const [name, rate] of state.outlets) {
    const at = name.search(/:|--/);
    const kind = name.slice(at).startsWith("--") ? name.slice(at) : name.split(":").slice(1, 3).join(":"); // of GRE's peers all
    const kinds = made(found, name.slice(0, at), () => new Map());
    kinds.set(kind, sum([kinds.get(kind) ?? NONE, rate]));
  }
  return found;
}

/** What carries a network between chassis: a kind of tunnel, a physical network as `--office`, or nothing. @param {string} network */
function mediumOf(network) {
  const segment = state.objects.networks.get(network)?.segment ?? "local";
  if (segment === "local") return "local";
  const physnet = segment.physnet ?? segment.flat;
  return physnet ? `--${physnet}` : Object.keys(segment)[0];
}

/** And the physical network that its gateway leads into. @param {string} network */
function usesOf(network) {
  const forward = state.objects.networks.get(network)?.forward;
  return [mediumOf(network), `--${forward?.nat ?? forward?.routed ?? ""}`];
}

/** @param {string} chassis */
const isCounted = (chassis) => state.objects.chassis.get(chassis)?.datapath !== "external";

/** @template V @param {Map<string, V>} map @param {string} key @param {() => V} make @returns {V} */
function made(map, key, make) {
  const known = map.get(key) ?? make();
  map.set(key, known);
  return known;
}
