"""The rows that a HostSpec asks of a switch's database."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface, ip_interface
from pathlib import Path

from datapath.addr import Mac
from datapath.ovs import rows
from datapath.spec import Guest, HostSpec, Interface, Machine, Node, Tunnel, Underlay, Uplink

ETH0 = Interface("web1", "eth0", "pabc", 64, Mac(2 << 40 | 1), 1450, (ip_interface("10.0.0.1/24"),))
HV1 = HostSpec(
    "lab",
    "hv1",
    "sdn-lab-hv1",
    0x1001,
    Underlay(IPv4Interface("172.31.0.1/24"), Mac(0x02AA_0000_0001), 1500, ()),
    (Tunnel("vxlan", "vxlan", 1), Tunnel("nvgre", "nvgre", 2)),
    (Uplink("office", "uabc", 16, 1500, "office"),),
    (Node("web1", "sdn-lab-web1", (ETH0,)),),
)
DIRECTORY = Path("/run/sdn/lab/hv1")


def test_the_integration_bridge_keeps_its_flows_without_a_controller() -> None:
    bridge = rows.bridges(HV1, "system", DIRECTORY)["br-int"]
    assert (bridge.datapath_type, bridge.fail_mode) == ("system", "secure")
    assert bridge.controller == "unix:/run/sdn/lab/hv1/br-int.controller"
    assert dict(bridge.other_config) == {"datapath-id": "0000000000001001", "disable-in-band": "true"}
    assert dict(bridge.external_ids) == {"sdn": "lab"}


def test_what_differs_is_said_with_both_values() -> None:
    port = rows.ports(HV1, "netdev", {})["vxlan"]
    other = port._replace(ofport_request=9, options=(("key", "5"), ("local_ip", "10.0.0.9"), ("remote_ip", "flow")))
    assert list(rows.changes(other, port)) == [
        "ofport_request 9 instead of 1",
        "options:key 5 instead of flow",
        "options:local_ip 10.0.0.9 instead of none",
    ]
    bridge = rows.bridges(replace(HV1, flow_limits=((44, 10),)), "netdev", DIRECTORY)["br-int"]
    other_bridge = replace(bridge, protocols=frozenset({"OpenFlow10"}), controller="", flow_limits=())
    assert list(rows.changes(other_bridge, bridge)) == [
        "protocols OpenFlow10 instead of OpenFlow13, OpenFlow14",
        "controller none instead of unix:/run/sdn/lab/hv1/br-int.controller",
        "flow_limits:44 none instead of 10",
    ]


def test_flows_are_limited_where_they_are_learned_only() -> None:
    rows_of = rows.bridges(replace(HV1, flow_limits=((44, 10),)), "netdev", DIRECTORY)
    assert rows_of["br-int"].flow_limits == ((44, 10),)
    assert rows_of["br-underlay"].flow_limits == ()


def test_only_a_userspace_switch_needs_a_bridge_for_the_underlay() -> None:
    assert set(rows.bridges(HV1, "system", DIRECTORY)) == {"br-int"}
    underlay = rows.bridges(HV1, "netdev", DIRECTORY)["br-underlay"]
    assert (underlay.fail_mode, underlay.controller) == ("standalone", "")
    assert dict(underlay.other_config) == {"hwaddr": "02:aa:00:00:00:01"}
    assert {"underlay0", "br-underlay"} <= rows.ports(HV1, "netdev", {}).keys()
    assert not {"underlay0", "br-underlay"} & rows.ports(HV1, "system", {}).keys()


def test_ports_have_the_numbers_of_the_model_and_our_mark() -> None:
    ports = rows.ports(HV1, "netdev", {"pabc": 7})
    assert {name: row.ofport_request for name, row in ports.items() if row.ofport_request} == {
        "vxlan": 1,
        "nvgre": 2,
        "uabc": 16,
        "pabc": 64,
    }
    assert all(dict(row.external_ids)["sdn"] == "lab" for row in ports.values())
    assert dict(ports["pabc"].external_ids) == {
        "attached-mac": "02:00:00:00:00:01",
        "iface-id": "web1:eth0",
        "sdn": "lab",
        "sdn-ifindex": "7",
        "sdn-port": "web1:eth0",
    }
    assert all(list(row.external_ids) == sorted(row.external_ids) for row in ports.values()), "compared as they are"


def test_tunnels_take_their_ends_from_the_flows() -> None:
    ports = rows.ports(HV1, "netdev", {})
    assert ports["nvgre"].type == "gre"
    assert dict(ports["vxlan"].options) == {"key": "flow", "remote_ip": "flow"}
    kernel = rows.ports(HV1, "system", {})
    assert dict(kernel["vxlan"].options) == {"key": "flow", "local_ip": "172.31.0.1", "remote_ip": "flow"}


def test_nodes_that_failed_get_no_port() -> None:
    assert "pabc" not in rows.ports(HV1, "netdev", {}, {"web1"})


def test_the_vteps_device_keeps_its_mtu_whatever_the_underlays_is() -> None:
    larger = replace(HV1, underlay=replace(HV1.underlay, mtu=9000))
    for spec in (HV1, larger):
        ports = rows.ports(spec, "netdev", {})
        asked = {name: row.mtu_request for name, row in ports.items() if row.mtu_request is not None}
        assert asked == {"br-underlay": rows.VTEP_MTU}
    assert rows.local_ports("lab", ["br-underlay"]).items() <= ports.items(), "also what a new database begins with"


def test_a_guests_port_says_whose_it_is_as_libvirt_does() -> None:
    uuid = "8c1f0e5a-0000-5000-8000-000000000001"
    nic = replace(ETH0, node="db1", bridge_port="pdef", ofport=70)
    guest = Guest("db1", uuid, Machine(128 << 20), (nic,))
    row = rows.ports(replace(HV1, nodes=(), guests=(guest,)), "netdev", {"pdef": 9})["pdef"]
    assert row.ofport_request == 70
    assert dict(row.external_ids) == {
        "attached-mac": "02:00:00:00:00:01",
        "iface-id": "db1:eth0",
        "iface-status": "active",
        "vm-id": uuid,
        "sdn": "lab",
        "sdn-ifindex": "9",
        "sdn-port": "db1:eth0",
    }


def test_the_port_that_a_guest_leaves_keeps_its_number() -> None:
    guest = Guest("db1", "u", Machine(128 << 20), (replace(ETH0, ofport=0, idle=True),))
    assert rows.ports(replace(HV1, nodes=(), guests=(guest,)), "netdev", {})["pabc"].ofport_request is None
