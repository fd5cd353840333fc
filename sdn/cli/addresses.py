"""The addresses of a guest's interfaces: what the file gives them, and what the guest really has, by its agent.

Enters: a Model, Facts, the agent of a guest. Leaves: words for `guest show`. Never: a wait for an agent that does not
answer already; what it cannot say is left as the file has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from datapath.addr import IPInterface, Mac
from datapath.errors import SdnError
from datapath.guest.qemu.command import AGENT
from sdn.cli import output
from sdn.cli.output import WARNING
from sdn.lab.rundir import RunDir
from sdn.model import Model, Port
from sdn.model.facts import GuestFacts

Has = Mapping[Mac, Sequence[IPInterface]]
"""By interface, those of VLANs on it among them; without link-local ones."""


def ask(model: Model, seen: GuestFacts, name: str) -> Has | None:
    """What the guest has; None where nobody in it says so."""
    if not seen.answers or seen.phase != "running":
        return None
    from datapath.guest import qga

    try:
        interfaces = qga.interfaces(RunDir(model.lab).guest(name) / AGENT)
    except (SdnError, ValueError):  # it has just gone, or says what is no address
        return None
    found: dict[Mac, list[IPInterface]] = {}
    for each in interfaces:
        if each.mac is not None:
            own = found.setdefault(each.mac, [])
            own += [address for address in each.addresses if not address.is_link_local and address not in own]
    return found


def by_interface(model: Model, name: str, has: Has) -> dict[str, list[str]]:
    return {
        ports[0].interface: [str(address) for address in has.get(ports[0].mac, ())]
        for ports in model.interfaces_of.get(name, ())
    }


def in_words(ports: Sequence[Port], has: Has | None) -> Iterator[str]:
    """Of an interface; what the guest lacks of it or has beside it is said."""
    there = None if has is None else {address.ip: address for address in has.get(ports[0].mac, ())}
    wanted = [(port, address) for port in ports for address in port.addresses]
    for port, address in wanted:
        if there is None:
            yield f"{address} by DHCP" if port.dhcp else str(address)
        elif address.ip in there:
            yield f"{address}{' by DHCP' * port.dhcp}"
        else:
            lacks = "not obtained by DHCP yet" if port.dhcp else "the guest does not have it"
            yield output.paint(f"{address} ({lacks})", WARNING)
    known = {address.ip for _, address in wanted}
    for address in (there or {}).values():
        if address.ip not in known:
            yield f"{address} (the guest's own doing)"
    if not wanted and there is None and any(port.dhcp for port in ports):
        yield "by DHCP"
