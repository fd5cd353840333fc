"""DOT (Graphviz) and mermaid, for documents and tools that lay out themselves. PURE."""

from __future__ import annotations

import json

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


def _up(facts: Facts | None, node: str, model: Model) -> bool:
    if not model.chassis[model.nodes[node].chassis].ours:
        return True  # nobody tells us, so nothing is drawn as down
    states = [facts.ports.get(p.name) for p in model.ports.values() if p.node == node] if facts else []
    return all(state is not None and state.up for state in states)


def dot(model: Model, facts: Facts | None = None) -> str:
    """A Graphviz graph: chassis are clusters, networks are ellipses; nodes that are down are dashed."""
    quote = json.dumps  # DOT's quoted strings escape as JSON's do, with \\n for a new line
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
                style = "" if _up(facts, node.name, model) else ', style="rounded,dashed"'
                lines.append(f"    {quote('node ' + node.name)} [label={quote(node.name)}{style}];")
        lines.append("  }")
    for port in model.ports.values():
        ends = f"{quote('network ' + port.network)} -- {quote('node ' + port.node)}"
        colour = quote(_colour(model, port.network))
        lines.append(f"  {ends} [color={colour}, label={quote(chr(10).join(_edge_label(port)))}];")
    return "\n".join([*lines, "}", ""])


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
        lines += [f'    {nodes[name]}["{_safe(name)}"]' for name in mine]
        lines.append("  end")
    for port in model.ports.values():
        label = _safe("<br/>".join(_edge_label(port)))
        lines.append(f"  {names[port.network]} ---{f'|{chr(34)}{label}{chr(34)}|' if label else ''} {nodes[port.node]}")
    for name in model.networks:
        lines.append(f"  style {names[name]} stroke:{_colour(model, name)},stroke-width:3px")
    lines += [f"  style {nodes[n]} stroke-dasharray:4 3" for n in model.nodes if not _up(facts, n, model)]
    for i, port in enumerate(model.ports.values()):
        lines.append(f"  linkStyle {i} stroke:{_colour(model, port.network)},stroke-width:2px")
    return "\n".join([*lines, ""])


def _safe(text: str) -> str:
    return text.replace('"', "#quot;")
