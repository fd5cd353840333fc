"""What `trace` tells: the way, the table and flow that dropped a packet, and the line of the file behind it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from datapath.errors import FileError
from datapath.openflow.flow import Flow, Output, Resubmit, Unknown, match
from sdn.model import Model
from sdn.model.facts import NO_ANSWER, Facts, FlowFacts
from sdn.pipeline import flows
from sdn.pipeline.fields import USER_MARK
from sdn.topology import parse
from sdn.trace import Fabric, answer, endpoints, trace
from sdn.way import Trace

TEXT = """\
name: t
chassis:
  hv1: {}
  hv2: {}
networks:
  web: {segment: {vxlan: 10}, subnets: [10.1.0.0/24, "fd01::/64"]}
  db: {segment: {nvgre: 5000}, subnet: 10.2.0.0/24, mtu: 1450}
nodes:
  web1: {network: web, chassis: hv1, ip: [10.1.0.11, "fd01::11"]}
  web2: {network: web, chassis: hv2, ip: [10.1.0.12, "fd01::12"]}
  db1: {network: db, chassis: hv2}
  both: {chassis: hv1, trunk: {native: web, 20: db}}
"""


@pytest.fixture(scope="module")
def model() -> Model:
    return parse(TEXT, "t.yaml")


def go(model: Model, source: str, target: str, protocol: str = "icmp", port: int = 0) -> Trace:
    return trace(model, *endpoints(model, source, target), protocol, port)


def test_across_a_tunnel(model: Model) -> None:
    found = go(model, "web1", "web2", "tcp", 80)
    assert found.reached
    assert found.delivered == ("web2:eth0",)
    assert [(hop.chassis, hop.in_port) for hop in found.hops] == [("hv1", "web1:eth0"), ("hv2", "vxlan")]
    assert found.hops[0].outputs == ("vxlan to hv2",)
    assert found.verdict == "delivered to web2:eth0 on hv2"


def test_every_step_leads_back_to_the_file(model: Model) -> None:
    steps = [step for hop in go(model, "web1", "web2").hops for step in hop.steps]
    assert all("t.yaml:" in step.about for step in steps)
    guard = next(step for step in steps if step.table == "spoof_guard")
    assert guard.about == "port web1:eth0 (t.yaml:9:3)"


def test_a_drop_names_hop_table_and_flow(model: Model) -> None:
    found = go(model, "web1", "db1")
    assert not found.reached
    assert "dropped on hv1 in table forward" in found.explain()
    assert "no port with this destination MAC" in found.explain()


def test_arp_is_answered_on_the_first_chassis(model: Model) -> None:
    found = go(model, "web1", "web2", "arp")
    assert found.reached
    assert found.verdict == "answered by hv1 itself"


def test_a_trunk_reaches_each_of_its_networks(model: Model) -> None:
    assert go(model, "both", "web2").reached
    assert go(model, "both", "db1").reached
    assert go(model, "db1", "both").delivered == ("both:eth0.20",)


@pytest.mark.parametrize("target", ["10.1.0.12", "fd01::12"])
def test_by_address(model: Model, target: str) -> None:
    source, found = endpoints(model, "web1", target)
    assert source.name == "web1:eth0"
    assert getattr(found, "name", None) == "web2:eth0"


def test_an_address_that_somebody_may_send_from() -> None:
    text = """
name: lab
chassis: {hv1: {}, hw: {datapath: external, vtep: 172.31.0.200}}
networks:
  web: {segment: {vxlan: 10}, subnet: 10.1.0.0/24}
nodes:
  a: {network: web, chassis: hv1}
  vip: {network: web, chassis: hv1, allowed_addresses: [10.1.0.100, 10.7.0.0/24]}
  far: {network: web, chassis: hw}
"""
    model = parse(text, "lab.yaml")
    for address in ("10.1.0.100", "10.7.0.9"):
        _, found = endpoints(model, "a", address)
        assert getattr(found, "name", None) == "vip:eth0"
    with pytest.raises(FileError, match=r"no network of a has 10\.9\.0\.1") as caught:
        endpoints(model, "a", "10.9.0.1")
    assert "web 10.1.0.0/24" in caught.value.remedy
    assert go(model, "a", "far").verdict.startswith("delivered to far:eth0 on hw, which is external")


def test_ports_without_a_common_network(model: Model) -> None:
    assert go(model, "web1", "db1").verdict.startswith("web1 and db1 share no network; sent anyway: dropped on hv1")


def test_an_address_that_nobody_has(model: Model) -> None:
    found = go(model, "web1", "10.1.0.99")
    assert not found.reached
    assert "not delivered to 10.1.0.99" in found.verdict


@pytest.mark.parametrize(("source", "target"), [("web9", "web2"), ("web1", "web9")])
def test_unknown_names(model: Model, source: str, target: str) -> None:
    with pytest.raises(FileError, match="web9") as caught:
        endpoints(model, source, target)
    assert "nodes are" in caught.value.remedy


# A lab in whose switches are flows of others too


def beside(model: Model, **theirs: Flow) -> Fabric:
    """The switches of these chassis have one flow more."""
    return Fabric(model, lambda name: [*flows(model, name), *([theirs[name]] if name in theirs else [])])


def among_others(model: Model, source: str, target: str, **theirs: Flow) -> Trace:
    return trace(beside(model, **theirs), *endpoints(model, source, target))


DROP = Flow(0, 40000, match(eth_type=0x0800), cookie=0x7B)


def test_a_drop_by_somebody_elses_flow_says_whose(model: Model) -> None:
    found = among_others(model, "web1", "web2", hv2=DROP)
    assert not found.reached
    assert found.verdict.startswith("dropped on hv2 in table classify by a flow that is not the lab's (flow: ")
    assert found.verdict.endswith("drop; not ours, cookie 0x7b)")
    assert [step.foreign for step in found.hops[1].steps] == [True]
    by_rest = DROP._replace(cookie=USER_MARK << 48 | 5)
    assert among_others(model, "web1", "web2", hv1=by_rest).verdict.endswith(
        "yours, by REST, cookie 0x5d0f000000000005)"
    )


def test_somebody_elses_flow_on_the_way_is_told(model: Model) -> None:
    passes = DROP._replace(table=99, goto=None)
    entered = DROP._replace(actions=(Resubmit(99),), goto=1)
    found = trace(Fabric(model, lambda name: [*flows(model, name), entered, passes]), *endpoints(model, "web1", "db1"))
    assert "dropped on hv1 in table" in found.verdict
    assert (
        "on its way are flows that are not the lab's: in table classify on hv1 (not ours, cookie 0x7b)" in found.verdict
    )


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (
            Unknown(bytes.fromhex("0016000800000007")),
            "followed as far as table classify on hv1: the interpreter does not know what group:7 does",
        ),
        (
            Output(0xFFFFFFFA),
            "followed as far as table classify on hv1: the interpreter does not know where NORMAL leads",
        ),
        (Output(4711), "sent out by 4711 on hv1, and no port of the lab got it"),
        (Output(0xFFFFFFFD), "sent to the controller by table classify on hv1"),
    ],
)
def test_what_others_do_with_a_packet(model: Model, action: Output | Unknown, said: str) -> None:
    found = among_others(model, "web1", "web2", hv1=DROP._replace(actions=(action,)))
    assert not found.reached
    assert said in found.verdict


def test_a_switch_without_a_flow_drops_what_needs_it(model: Model) -> None:
    emptied = Fabric(model, lambda name: [flow for flow in flows(model, name) if name == "hv1"])
    found = trace(emptied, *endpoints(model, "web1", "web2"))
    assert (
        found.verdict
        == "dropped on hv2 in table classify: no port, tunnel or uplink of this chassis claims it (no flow matches)"
    )


def test_the_answer_has_a_way_of_its_own(model: Model) -> None:
    """A client's packet to port 80 is let through, and what comes from there is not."""
    theirs = Flow(0, 40000, match(eth_type=0x0800, ip_proto=6, tcp_src=80), cookie=0x7B)
    fabric, (source, target) = beside(model, hv2=theirs), endpoints(model, "web1", "web2")
    assert not isinstance(target, (IPv4Address, IPv6Address))
    assert trace(fabric, source, target, "tcp", 80).reached
    back = answer(fabric, source, target, "tcp", 80)
    assert back.verdict.startswith("dropped on hv2 in table classify by a flow that is not the lab's")
    assert answer(fabric, source, target).verdict == "delivered to web1:eth0 on hv1"


def test_unknown_protocol(model: Model) -> None:
    with pytest.raises(FileError, match="gre"):
        go(model, "web1", "web2", "gre")


def test_a_switch_that_hangs_is_not_asked(model: Model) -> None:
    asked: list[str] = []

    def observed(chassis: str) -> list[Flow]:
        asked.append(chassis)
        return list(flows(model, chassis))

    facts = Facts({"hv1": FlowFacts(False, error=NO_ANSWER, silent=True), "hv2": FlowFacts()})
    found = trace(Fabric(model, observed, facts), *endpoints(model, "web1", "web2"))
    assert asked == ["hv2"], "it may just have no controller"
    assert [hop.unread for hop in found.hops] == ["hv1: its switch does not answer", ""]
