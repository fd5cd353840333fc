"""DOT (Graphviz) and mermaid, for documents and tools that lay out themselves. PURE."""

from __future__ import annotations

import json
from functools import partial

from sdn.graph.cards import hardware
from sdn.graph.state import guest_state, is_up
from sdn.graph.style import LIGHT, SWITCHES
from sdn.model import Chassis, Model, Network, Port
from sdn.model.facts import Facts


def _label(network: Network) -> list[str]:
    forward = [str(network.forward)] if network.forward else []
    return [network.name, str(network.segment), f"MTU {network.mtu}", *map(str, network.subnets), *forward]


def _host(chassis: Chassis) -> list[str]:
    """Its switch is said where it is not the usual one."""
    return [f"vtep {chassis.vtep.ip}", *([SWITCHES[chassis.datapath]] if chassis.datapath != "ovs" else [])]


def _colour(model: Model, network: str) -> str:
    return LIGHT[list(model.networks).index(network) % len(LIGHT)]


def _edge_label(port: Port) -> list[str]:
    tag, macvlan = [f"tag {port.tag}"] if port.tag is not None else [], [str(port.macvlan)] if port.macvlan else []
    return [*tag, *macvlan, *map(str, port.ips)]


def _node(model: Model, facts: Facts | None, node: str) -> list[str]:
    """A guest says what it is, and how."""
    guest = model.guests.get(node)
    if guest is None:
        return [node]
    state = guest_state(model, facts, node)
    return [node, f"guest · {hardware(guest)}", *([state] if state else [])]


def dot(model: Model, facts: Facts | None = None) -> str:
    """A Graphviz graph: chassis are clusters, networks are ellipses, guests are cubes; what is down is dashed."""
    quote = partial(json.dumps, ensure_ascii=False)  # DOT's strings escape as JSON's do, with \\n for a new line
    lines = [f"graph {quote(model.lab)} {{", '  graph [rankdir=TB, fontname="Helvetica", compound=true, splines=true];']
    lines.append('  node [shape=box, style="rounded,filled", fillcolor=white, fontname="Helvetica", fontsize=11];')
    lines.append('  edge [fontname="Helvetica", fontsize=9, penwidth=2];')
    for network in model.networks.values():
        label, colour = quote("\n".join(_label(network))), _colour(model, network.name)
        lines.append(
            f"  {quote('network ' + network.name)} [shape=ellipse, label={label}, color={quote(colour)}, penwidth=2];"
        )
    for chassis in model.chassis.values():
        label = quote("\n".join([chassis.name, *_host(chassis)]))
        lines.append(f"  subgraph {quote('cluster ' + chassis.name)} {{")
        lines.append(f'    label={label}; style="rounded,filled"; fillcolor="#f6f8fa"; color="#d1d9e0";')
        for node in model.nodes.values():
            if node.chassis == chassis.name:
                label = quote("\n".join(_node(model, facts, node.name)))
                lines.append(f"    {quote('node ' + node.name)} [label={label}{_dot_shape(model, facts, node.name)}];")
        lines.append("  }")
    for port in model.ports.values():
        ends = f"{quote('network ' + port.network)} -- {quote('node ' + port.node)}"
        colour = quote(_colour(model, port.network))
        lines.append(f"  {ends} [color={colour}, label={quote(chr(10).join(_edge_label(port)))}];")
    return "\n".join([*lines, "}", ""])


def _dot_shape(model: Model, facts: Facts | None, node: str) -> str:
    down, is_guest = is_up(model, facts, node) is False, node in model.guests
    if is_guest:
        return f', shape=box3d, style="{"filled,dashed" if down else "filled"}"'
    return ', style="rounded,dashed"' if down else ""


def mermaid(model: Model, facts: Facts | None = None) -> str:
    """A mermaid flowchart, as GitHub and GitLab draw it in a fenced block."""
    lines = ["flowchart TB"]
    names = {name: f"net{i}" for i, name in enumerate(model.networks)}
    nodes = {name: f"node{i}" for i, name in enumerate(model.nodes)}
    for name, network in model.networks.items():
        lines.append(f'  {names[name]}(["{_safe("<br/>".join(_label(network)))}"])')
    for i, chassis in enumerate(model.chassis.values()):
        lines.append(f'  subgraph chassis{i}["{_safe(" · ".join([chassis.name, *_host(chassis)]))}"]')
        mine = [node.name for node in model.nodes.values() if node.chassis == chassis.name]
        lines += [f"    {nodes[name]}{_mermaid_node(model, facts, name)}" for name in mine]
        lines.append("  end")
    for port in model.ports.values():
        label = _safe("<br/>".join(_edge_label(port)))
        lines.append(f"  {names[port.network]} ---{f'|{chr(34)}{label}{chr(34)}|' if label else ''} {nodes[port.node]}")
    for name in model.networks:
        lines.append(f"  style {names[name]} stroke:{_colour(model, name)},stroke-width:3px")
    lines += [f"  style {nodes[n]} stroke-dasharray:4 3" for n in model.nodes if is_up(model, facts, n) is False]
    for i, port in enumerate(model.ports.values()):
        lines.append(f"  linkStyle {i} stroke:{_colour(model, port.network)},stroke-width:2px")
    return "\n".join([*lines, ""])


def _mermaid_node(model: Model, facts: Facts | None, node: str) -> str:
    """Guests have a double border, as subroutines have."""
    text = f'"{_safe("<br/>".join(_node(model, facts, node)))}"'
    return f"[[{text}]]" if node in model.guests else f"[{text}]"


def _safe(text: str) -> str:
    return text.replace('"', "#quot;")
