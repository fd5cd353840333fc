"""A lab or a part of it for elsewhere: a guest as libvirt's XML, the whole as the text of a topology file.

Enters: a lab or file; for libvirt a guest's name. Leaves: XML, or YAML. What the XML names is on this machine: the
guest's disk, its seed, its kernel. Notes on stderr list them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from datapath.errors import FileError
from datapath.spec import INTEGRATION_BRIDGE, Guest, Interface, device_name
from sdn.cli import output, target

if TYPE_CHECKING:
    from datapath.guest.libvirt.domain import BridgePlug, Files
    from sdn.model import Model, Port


def export(form: str, name: str | None, wanted: str | None, file: Path | None) -> None:
    """Raises FileError where the guest is missing, or one too many."""
    if form == "topology":
        if name is not None:
            raise FileError(f"a topology is a whole lab's, and {name} is a part of it", remedy="sdn export topology")
        topology(wanted, file)
    elif name is None:
        raise FileError("which guest?", remedy="sdn export libvirt GUEST")
    else:
        libvirt(name, wanted, file)


def topology(wanted: str | None, file: Path | None) -> None:
    """As GET /v1/topology: what runs, in the words of its file, and without what the file need not say."""
    from sdn.topology.text import text
    from sdn.topology.tidy import tidy

    _write(text(tidy(_model(wanted))), file)


def libvirt(name: str, wanted: str | None, file: Path | None) -> None:
    from datapath.guest.accel import accelerator
    from datapath.guest.libvirt import domain, libvirt_files
    from datapath.guest.wishes import home
    from sdn.lab import run_dir

    model = _model(wanted)
    guest = _guest(model, name)
    files = libvirt_files.elsewhere(guest, model.lab, home(run_dir(model.lab), name), file)
    together = zip(guest.interfaces, model.interfaces_of.get(name, ()), strict=True)
    plugs = [_plug(model, interface, ports) for interface, ports in together]
    mark = {"lab": model.lab, "guest": name}
    _write(domain.domain(guest, name, mark, accelerator().name, files, plugs), file)
    for remark in _remarks(guest, plugs, files):
        output.note(remark)


def _model(wanted: str | None) -> Model:
    """Of a file as it is meant, of a lab as it runs."""
    from sdn import topology

    if wanted is not None and target.is_file(wanted):
        return topology.read(Path(wanted))
    return target.running(wanted)[0]


def _guest(model: Model, name: str) -> Guest:
    """Raises FileError where there is none, or it is a node of another kind."""
    from sdn.compile.guests import guests_by_chassis

    if name not in model.guests:
        target.node(model, name)
        raise FileError(f"{name} is a namespace and not a guest", remedy=f"guests: {', '.join(model.guests) or 'none'}")
    here = model.nodes[name].chassis
    return next(guest for guest in guests_by_chassis(model, (), ())[here] if guest.name == name)


def _plug(model: Model, interface: Interface, ports: Sequence[Port]) -> BridgePlug:
    """The bridge has the name that a lab's has. Raises FileError for what libvirt cannot say."""
    from datapath.guest.libvirt.domain import BridgePlug, port_identity, trunk

    untagged = ports[0].network if ports[0].tag is None else ""
    if interface.macvlan is not None:
        raise FileError(f"{interface.node}:{interface.name} is a {ports[0].macvlan}, which cannot be exported")
    if model.chassis[ports[0].chassis].has_tables:
        return BridgePlug(INTEGRATION_BRIDGE, port_identity(model.lab, interface), trunk(interface, bool(untagged)))
    if not untagged:
        raise FileError(
            f"{interface.node}:{interface.name} has tagged networks only, and libvirt has no tags on a Linux bridge",
            remedy=f"put {interface.node} on a chassis with Open vSwitch, or give the interface an untagged network",
        )
    return BridgePlug(device_name("brv-", untagged))


def _write(content: str, file: Path | None) -> None:
    if file is None:
        sys.stdout.write(content)
        return
    try:
        file.write_text(content)
    except OSError as error:
        raise FileError(f"cannot write {file}: {(error.strerror or str(error)).lower()}") from error
    output.note(f"wrote {file}")


def _remarks(guest: Guest, plugs: Sequence[BridgePlug], files: Files) -> Iterator[str]:
    """What must be there where the domain is defined."""
    bridges = dict.fromkeys(plug.bridge for plug in plugs)
    if bridges:
        yield f"bridges that it is plugged into: {', '.join(bridges)}"
    for interface, plug in zip(guest.interfaces, plugs, strict=True):
        if interface.vlans and not plug.port:
            tags = ", ".join(str(vlan.tag) for vlan in interface.vlans)
            yield f"{interface.name}: its tags ({tags}) pass a bridge that does not filter VLANs; libvirt cannot say so"
    for path in map(Path, files.paths):
        yield f"file: {path}{'' if path.exists() else ' (not there yet: the first start of the guest makes it)'}"
