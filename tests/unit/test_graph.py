"""Pictures: well-formed, complete, without overlaps, and of a shape that fits a page."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from ipaddress import IPv4Interface
from itertools import combinations, pairwise

import pytest

from sdn.graph import FORMATS, dot, layout, lines, mermaid, svg
from sdn.model import Forward, Macvlan, Model, Segment
from sdn.model.facts import GuestFacts
from tests.unit.cli.sample import facts, guest_facts, machines, many_networks, overlay, wide

MODELS = {
    "overlay": overlay(),
    "20x5": wide(),
    "1x100": wide(1, 100),
    "2x1": wide(2, 1),
    "networks": many_networks(),
    "empty": Model("void", overlay().underlay),
    "guests": machines(),
    "idle": replace(overlay(), nodes={}, ports={}),
}


def texts(drawing: str) -> set[str]:
    found = ET.fromstring(drawing).iter("{http://www.w3.org/2000/svg}text")
    return {"".join(element.itertext()) for element in found}


def placed(model: Model) -> list[str]:
    return [node.name for chassis in model.chassis for node in model.nodes.values() if node.chassis == chassis]


# What we use of the DOT language (graphviz.org/doc/info/lang.html): an ID is a name or a quoted string, an attribute
# list is in brackets, statements end with a semicolon.
ID = r'(?:[A-Za-z_]\w*|"(?:[^"\\\n]|\\.)*")'
ATTRIBUTE = rf"{ID}={ID.replace('[A-Za-z_]', '[A-Za-z_0-9]')}"
ATTRIBUTES = rf"\[{ATTRIBUTE}(?:, {ATTRIBUTE})*\]"
DEFAULTS = re.compile(rf"(?:graph|node|edge) {ATTRIBUTES};|(?:{ATTRIBUTE};\s*)+")
NODE = re.compile(rf"({ID}) {ATTRIBUTES};")
EDGE = re.compile(rf"({ID}) -- ({ID}) {ATTRIBUTES};")
OPENING = re.compile(rf"(?:graph|subgraph) {ID} {{")


def read_dot(text: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Nodes and edges. Fails at a statement that is none, and where braces do not match."""
    nodes, edges, depth = [], [], 0
    for number, line in enumerate(map(str.strip, text.splitlines())):
        depth += 1 if OPENING.fullmatch(line) else -1 if line == "}" else 0
        assert depth > 0 or number == len(text.splitlines()) - 1, line
        if edge := EDGE.fullmatch(line):
            edges.append((json.loads(edge[1]), json.loads(edge[2])))
        elif (node := NODE.fullmatch(line)) and node[1] not in ("graph", "node", "edge"):
            nodes.append(json.loads(node[1]))
        else:
            assert line == "}" or OPENING.fullmatch(line) or DEFAULTS.fullmatch(line), line
    assert depth == 0
    return nodes, edges


@pytest.mark.parametrize("name", MODELS)
class TestEveryModel:
    def test_svg_says_everything(self, name: str) -> None:
        model = MODELS[name]
        said = texts(svg(model, facts(model)))
        assert {model.lab, *model.chassis, *model.nodes} <= said
        assert {f"vtep {chassis.vtep.ip}" for chassis in model.chassis.values()} <= said

    def test_nothing_overlaps(self, name: str) -> None:
        picture = layout.arrange(MODELS[name], 80)
        boxes = [box for row in picture.rows for box in row.boxes]
        for a, b in combinations(boxes, 2):
            assert a.x + a.width < b.x or b.x + b.width < a.x or a.y + a.height < b.y or b.y + b.height < a.y
        for box in boxes:
            assert box.x + box.width <= picture.width
            cards = [card for shelf in box.shelves for card in shelf.cards]
            for card in cards:
                assert box.x < card.x
                assert card.x + card.width < box.x + box.width
                assert card.y + card.height < box.y + box.height
            for shelf in box.shelves:
                assert all(a.x + a.width < b.x for a, b in pairwise(shelf.cards))
            for above, below in pairwise(box.shelves):
                lowest = max(card.y + card.height for card in above.cards)
                assert lowest < min([*below.rails.values(), *(card.y for card in below.cards)])

    def test_every_port_hangs_from_its_network(self, name: str) -> None:
        model = MODELS[name]
        shelves = [shelf for row in layout.arrange(model).rows for box in row.boxes for shelf in box.shelves]
        drops = [(port, network, shelf) for shelf in shelves for card in shelf.cards for _, network, port in card.drops]
        assert {port for port, _, _ in drops} == set(model.ports)
        assert all(network in shelf.rails and model.ports[port].network == network for port, network, shelf in drops)

    def test_lines_are_pieces_between_what_hangs_from_them(self, name: str) -> None:
        """Each begins where another ends, and leads to fewer ports and chassis than the one before, of its network."""
        model = MODELS[name]
        for row in layout.arrange(model).rows:
            for box in row.boxes:
                for network in box.networks:
                    pieces = list(lines.inside(row, box, network))
                    here = {port.name for port in model.ports_of[network] if port.chassis == box.chassis.name}
                    reached = {each for piece in pieces for each in piece.beyond}
                    assert reached & model.ports.keys() == here
                    assert reached - here <= {other.chassis.name for other in row.boxes if network in other.networks}
                    starts = [piece.d.partition("H")[0] for piece in pieces if "H" in piece.d]
                    assert len(set(starts)) == len(starts)
            for network in row.rails:
                across = [piece.beyond for piece in lines.between(row, network, 0.0)]
                assert all(before[1:] == after for before, after in pairwise(across))

    def test_dot_is_valid(self, name: str) -> None:
        model = MODELS[name]
        found, edges = read_dot(dot(model))
        assert found == [f"network {network}" for network in model.networks] + [f"node {n}" for n in placed(model)]
        assert edges == [(f"network {port.network}", f"node {port.node}") for port in model.ports.values()]


@pytest.mark.parametrize(("name", "least", "most"), [("overlay", 1.2, 2.4), ("20x5", 1.2, 2.2), ("1x100", 1.2, 2.2)])
def test_shape_fits_a_page(name: str, least: float, most: float) -> None:
    root = ET.fromstring(svg(MODELS[name]))
    assert least < float(root.attrib["width"]) / float(root.attrib["height"]) < most


def test_state_is_shown() -> None:
    model = overlay()
    drawing = svg(model, facts(model, "db1", "hv2"))
    assert {"not connected", "42 flows", "up", "down"} <= texts(drawing)
    assert "up" not in texts(svg(model))


def test_an_external_chassis_is_nobodys_failure() -> None:
    model = overlay()
    model.chassis["hv2"] = replace(model.chassis["hv2"], datapath="external")
    assert "not connected" not in svg(model, facts(model, "hv2"))
    assert "external" in svg(model, facts(model, "hv2"))
    assert "stroke-dasharray" not in mermaid(model, facts(model, "db1"))


def test_a_linux_chassis_says_so() -> None:
    """Its state is that of its host: no controller is connected to it."""
    model = overlay()
    model.chassis["hv2"] = replace(model.chassis["hv2"], datapath="linux")
    assert "Linux bridge" in texts(svg(model, facts(model)))
    assert "not connected" not in texts(svg(model, facts(model, "hv2")))
    assert "vtep 172.31.0.2\\nLinux bridge" in dot(model)
    assert "hv2 · vtep 172.31.0.2 · Linux bridge" in mermaid(model)
    assert "hv1 · vtep 172.31.0.1 · Open" not in mermaid(model)


def test_gateways_and_macvlan_are_told() -> None:
    model = overlay()
    forward = Forward("routed", IPv4Interface("10.20.0.254/24"), "campus")
    model.networks["db"] = replace(model.networks["db"], segment=Segment("local"), forward=forward)
    model.ports["desk.eth0"] = replace(model.ports["desk.eth0"], macvlan=Macvlan("vepa"))
    for drawing in (svg(model), dot(model), mermaid(model)):
        assert "routed into campus, gateway 10.20.0.254" in drawing
        assert "macvlan vepa" in drawing


class TestGuests:
    model = machines()
    seen = guest_facts(model, vm2=GuestFacts("failed", error="no room on the disk"))

    def test_they_say_what_they_are(self) -> None:
        said = texts(svg(self.model))
        assert {"guest", "guest (QEMU)", "128M · 1 cpu", "1536M · 2 cpus"} <= said
        assert any("1 node · 2 guests · 1 network" in text for text in said)
        assert '"node vm1" [label="vm1\\nguest · 128M · 1 cpu", shape=box3d, style="filled"]' in dot(self.model)
        assert '[["vm2<br/>guest · 1536M · 2 cpus"]]' in mermaid(self.model)
        assert "guest (QEMU)" not in texts(svg(overlay()))

    def test_they_say_how_they_are(self) -> None:
        assert {"running", "failed"} <= texts(svg(self.model, self.seen))
        assert "no room on the disk" in svg(self.model, self.seen)
        assert 'nfailed", shape=box3d, style="filled,dashed"' in dot(self.model, self.seen)
        assert "<br/>running" in mermaid(self.model, self.seen)
        assert mermaid(self.model, self.seen).count("stroke-dasharray") == 1

    def test_one_that_moves_says_where(self) -> None:
        for phase, said in (
            (GuestFacts("moving", "hv2"), "to hv1"),
            (GuestFacts("moving", "hv1", leaves="hv2"), "from hv2"),
        ):
            moving = guest_facts(self.model, vm1=phase)
            assert f"moving {said}" in dot(self.model, moving)
            assert "moving" in texts(svg(self.model, moving))
            assert "dashed" not in dot(self.model, moving)

    def test_one_that_shall_be_off_is_not_down(self) -> None:
        model = machines()
        off = replace(model.guests["vm1"], machine=replace(model.guests["vm1"].machine, power="off"))
        model.guests["vm1"] = off
        assert "dashed" not in dot(model, guest_facts(model, vm1=GuestFacts("off")))


def test_hostile_names_are_escaped() -> None:
    model = replace(overlay(), lab='<b>"&')
    for draw in (svg, mermaid, dot):
        draw(model)
    read_dot(dot(model))
    assert ET.fromstring(svg(model)).attrib["aria-label"] == 'lab <b>"&'


def test_mermaid_names_everything() -> None:
    text = mermaid(overlay())
    assert text.startswith("flowchart TB\n")
    assert text.count(" ---") == len(overlay().ports)
    assert '(["web<br/>vxlan 10010<br/>MTU 1450' in text


def test_formats_are_deterministic() -> None:
    for draw in FORMATS.values():
        assert draw(overlay()) == draw(overlay())
