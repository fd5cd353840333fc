"""Named states of one lab, as different from each other as they come.

What can be allotted is given where states differ: allotted values stay with an object as long as it is there, so that
they would depend on the way.
"""

from __future__ import annotations

from typing import Any, Final

Topology = dict[str, Any]

LAN: Final[Topology] = {"segment": {"vxlan": 100}, "subnet": "10.7.0.0/24"}
WEB: Final[Topology] = {"segment": {"nvgre": 5000}, "subnet": "10.9.0.0/24"}
NODES: Final[Topology] = {
    "n1": {"network": "lan", "chassis": "hv1", "ip": "10.7.0.11"},
    "n2": {"network": "lan", "chassis": "hv2", "ip": "10.7.0.12"},
    "w1": {"network": "web", "chassis": "hv1", "ip": "10.9.0.11"},
    "w2": {"network": "web", "chassis": "hv2", "ip": "10.9.0.12"},
}


def chassis(*numbers: int) -> Topology:
    return {f"hv{number}": {} for number in numbers}


def placed(**places: str) -> Topology:
    """NODES, some of them elsewhere."""
    return {name: {**node, "chassis": places.get(name, node["chassis"])} for name, node in NODES.items()}


STATES: Final[dict[str, Topology]] = {
    "empty": {"chassis": chassis(1, 2)},
    "one network": {
        "chassis": chassis(1, 2),
        "networks": {"lan": LAN},
        "nodes": {name: NODES[name] for name in ("n1", "n2")},
    },
    "two networks": {"chassis": chassis(1, 2), "networks": {"lan": LAN, "web": WEB}, "nodes": NODES},
    "moved": {
        "chassis": chassis(1, 2),
        "networks": {"lan": LAN, "web": WEB},
        "nodes": placed(n1="hv2", n2="hv1", w2="hv1"),
    },
    "other encapsulations": {
        "chassis": chassis(1, 2),
        "networks": {"lan": {**LAN, "segment": {"geneve": 77}}, "web": {**WEB, "segment": {"vxlan": 100}, "mtu": 1300}},
        "nodes": NODES,
    },
    "trunks": {
        "chassis": chassis(1, 2),
        "networks": {"lan": LAN, "web": {**WEB, "mtu": 1450}},
        "nodes": {
            **NODES,
            "fw": {
                "chassis": "hv1",
                "trunk": {"native": {"network": "lan", "ip": "10.7.0.1"}, 20: {"network": "web", "ip": "10.9.0.1"}},
            },
            "w1": {"chassis": "hv2", "trunk": {10: {"network": "web", "ip": "10.9.0.11"}}},
        },
    },
    "physical": {
        "chassis": chassis(1, 2),
        "physnets": {"office": {}, "floor": {"mtu": 1400}},
        "networks": {
            "lan": {**LAN, "segment": {"vlan": 20, "physnet": "office"}},
            "web": {**WEB, "segment": {"flat": "floor"}},
            "desk": {"segment": {"vlan": 30, "physnet": "office"}, "subnet": "10.8.0.0/24"},
        },
        "nodes": {**NODES, "d1": {"network": "desk", "chassis": "hv1", "ip": "10.8.0.11"}},
    },
    "more chassis": {
        "chassis": chassis(1, 2, 3),
        "networks": {"lan": LAN, "web": WEB},
        "nodes": {**placed(w2="hv3"), "n3": {"network": "lan", "chassis": "hv3", "ip": "10.7.0.13"}},
    },
    "other chassis": {
        "chassis": chassis(2, 3),
        "networks": {"lan": LAN, "web": WEB},
        "nodes": placed(n1="hv3", w1="hv3"),
    },
    "IPv6": {
        "chassis": chassis(1, 2),
        "underlay": {"subnet": "172.31.7.0/24", "mtu": 1600},
        "networks": {
            "lan": {"segment": {"vxlan": 100}, "subnets": ["10.7.0.0/24", "fd00:7::/64"]},
            "web": {"segment": {"nvgre": 5000}, "subnet": "fd00:9::/64"},
        },
        "nodes": {
            "n1": {"network": "lan", "chassis": "hv1", "ip": ["10.7.0.11", "fd00:7::11"]},
            "n2": {"network": "lan", "chassis": "hv2", "ip": ["10.7.0.12", "fd00:7::12"]},
            "w1": {"network": "web", "chassis": "hv1", "ip": "fd00:9::11"},
            "w2": {"network": "web", "chassis": "hv2", "ip": "fd00:9::12"},
        },
    },
    "lenient": {
        "chassis": chassis(1, 2),
        "networks": {"lan": {**LAN, "unknown_unicast": "flood"}, "web": WEB},
        "nodes": {
            "n1": {**NODES["n1"], "spoof_guard": False},
            "n2": {**NODES["n2"], "allowed_addresses": ["10.7.0.100"]},
            "w1": {
                "chassis": "hv1",
                "ports": [{"network": "web", "ip": "10.9.0.11"}, {"network": "lan", "ip": "10.7.0.21"}],
            },
        },
    },
}
