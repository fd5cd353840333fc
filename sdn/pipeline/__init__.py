"""Model + Facts → flows. One module per table, in the order of `layout.Table`. PURE.

Every flow is about one object: a chassis, a network or a port. The flows about one object on one chassis are a unit;
they carry the object in their cookie, and they are what is compiled again when the object changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from datapath.openflow.flow import Flow
from sdn.model import Chassis, Model, Network, Port
from sdn.model.facts import Facts
from sdn.model.moves import located
from sdn.pipeline import (
    answer,
    classify,
    egress_rules,
    forward,
    ingress_rules,
    output,
    reply,
    route,
    spoof_guard,
)
from sdn.pipeline.fields import Cookie, Kind
from sdn.pipeline.layout import Table
from sdn.pipeline.view import Places, View

TABLES = (classify, spoof_guard, egress_rules, answer, reply, route, forward, ingress_rules, output)


WHY_DROPPED = {
    Table.CLASSIFY.label: "no port, tunnel or uplink of this chassis claims it",
    Table.SPOOF_GUARD.label: "the port may not send from this MAC or address",
    Table.ANSWER.label: "a port asked for its own address",
    Table.FORWARD.label: "the network knows no port with this destination MAC",
    Table.OUTPUT.label: "there is no way to leave by",
}
"""What a drop in each table means, for people."""


def _about(kind: Kind, number: int, flows: Iterable[Flow]) -> tuple[Flow, ...]:
    cookie = Cookie(kind, number).pack()
    return tuple([flow._replace(cookie=cookie) for flow in flows])


def chassis_unit(view: View) -> tuple[Flow, ...]:
    """The flows that a chassis has whatever its networks are."""
    return _about(Kind.CHASSIS, view.chassis.id, (flow for table in TABLES for flow in table.chassis_flows(view)))


def network_unit(view: View, network: Network) -> tuple[Flow, ...]:
    """The flows about a network on a chassis that has it."""
    tables = (classify, forward, output)
    return _about(Kind.NETWORK, network.id, (flow for table in tables for flow in table.network_flows(view, network)))


def local_port_unit(view: View, port: Port, network: Network) -> tuple[Flow, ...]:
    """The flows about a port on its own chassis."""
    tables = (classify, spoof_guard, answer, forward, output)
    flows = (flow for table in tables for flow in table.local_port_flows(view, port, network))
    return _about(Kind.PORT, port.id, (*flows, *answer.port_flows(port, network, view.rewrites_nd)))


def remote_port_unit(port: Port, network: Network, chassis: Chassis, rewrites_nd: bool) -> tuple[Flow, ...]:
    """The flows about a port on every other chassis that has its network; `chassis` is the port's."""
    flows = (*answer.port_flows(port, network, rewrites_nd), *forward.remote_port_flows(port, network, chassis))
    return _about(Kind.PORT, port.id, flows)


def awaited_port_unit(view: View, port: Port, network: Network) -> tuple[Flow, ...]:
    """The flows about a port on the chassis where its guest arrives: what it sends and gets there passes as soon as it
    is there, while all that is for it still goes to where it is."""
    tables = (classify, spoof_guard, answer, output)
    flows = (flow for table in tables for flow in table.local_port_flows(view, port, network))
    beyond = remote_port_unit(port, network, view.model.chassis[port.chassis], view.rewrites_nd)
    return (*_about(Kind.PORT, port.id, flows), *beyond)


def flows(model: Model, chassis: str, facts: Facts | None = None) -> Iterator[Flow]:
    """Every flow of a chassis, from nothing: the specification that incremental compilation has to equal."""
    facts = facts or Facts()
    model = located(model, facts)
    places, rewrites_nd = Places(model.ports.values()), chassis not in without_nd(facts)
    view = View(model.chassis[chassis], model, places, odd_ofports(model, facts), rewrites_nd)
    yield from chassis_unit(view)
    for network in view.networks():
        yield from network_unit(view, network)
        for port in view.places.ports_of(network.name):
            if view.is_local(port):
                yield from local_port_unit(view, port, network)
            elif view.awaits(port):
                yield from awaited_port_unit(view, port, network)
            else:
                yield from remote_port_unit(port, network, model.chassis[port.chassis], rewrites_nd)


def without_nd(facts: Facts) -> frozenset[str]:
    """Chassis whose switch cannot rewrite ND: Open vSwitch's flows can, the kernel's datapath has no action for it."""
    return frozenset(name for name, host in facts.hosts.items() if host.datapath_type == "system")


def odd_ofports(model: Model, facts: Facts) -> dict[str, int]:
    """Ports whose switch gave them another number than the model's."""
    return {
        name: seen.ofport
        for name, seen in facts.ports.items()
        if seen.ofport is not None and name in model.ports and seen.ofport != model.ports[name].ofport
    }
