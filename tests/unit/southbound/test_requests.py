"""Our requests are os-ken's, byte for byte, in every version that we speak."""

from __future__ import annotations

from typing import Any

import pytest

from sdn.southbound import messages, requests
from sdn.southbound.requests import Control, Request, Watch
from sdn.southbound.transport import MalformedError

V13, V14 = 4, 5


def theirs(name: str, version: int, *arguments: Any) -> bytes:
    codec = messages.dialect(version)
    return messages.encode(getattr(codec.ofproto_parser, f"OFP{name}")(codec, *arguments), 77)


@pytest.mark.parametrize("version", [V13, V14])
@pytest.mark.parametrize("request_", [requests.ECHO, requests.FEATURES, requests.BARRIER])
def test_a_request_without_a_body(request_: Request, version: int) -> None:
    assert request_.encode(version, 77) == theirs(request_.name, version)


@pytest.mark.parametrize("version", [V13, V14])
def test_the_request_for_all_flows(version: int) -> None:
    codec = messages.dialect(version)
    ofproto, match = codec.ofproto, codec.ofproto_parser.OFPMatch()
    everything = (0, ofproto.OFPTT_ALL, ofproto.OFPP_ANY, ofproto.OFPG_ANY, 0, 0, match)
    assert requests.ALL_FLOWS.encode(version, 77) == theirs("FlowStatsRequest", version, *everything)


@pytest.mark.parametrize(
    ("what", "theirs_"),
    [
        (Control.OPEN, "OFPBCT_OPEN_REQUEST"),
        (Control.COMMIT, "OFPBCT_COMMIT_REQUEST"),
        (Control.DISCARD, "OFPBCT_DISCARD_REQUEST"),
    ],
)
def test_the_control_of_a_bundle(what: Control, theirs_: str) -> None:
    ofproto = messages.dialect(V14).ofproto
    flags = ofproto.OFPBF_ATOMIC | ofproto.OFPBF_ORDERED
    wanted = theirs("BundleCtrlMsg", V14, 9, getattr(ofproto, theirs_), flags, [])
    assert requests.bundle_control(9, what).encode(V14, 77) == wanted


def test_a_features_reply() -> None:
    reply = bytes(8) + (0xABCDEF).to_bytes(8, "big") + bytes(16)
    assert requests.datapath_id(reply) == 0xABCDEF
    with pytest.raises(MalformedError, match="cut short"):
        requests.datapath_id(reply[:-1])


def test_a_flow_monitor() -> None:
    codec = messages.dialect(V14)
    ofproto, match = codec.ofproto, codec.ofproto_parser.OFPMatch()
    flags = ofproto.OFPFMF_ADD | ofproto.OFPFMF_REMOVED | ofproto.OFPFMF_MODIFY | ofproto.OFPFMF_INSTRUCTIONS
    wanted = (0, 1, ofproto.OFPP_ANY, ofproto.OFPG_ANY, flags, 28, ofproto.OFPFMC_ADD, match)
    watch = Watch.ADD | Watch.REMOVED | Watch.MODIFY | Watch.INSTRUCTIONS
    assert requests.flow_monitor({28: watch}).encode(V14, 77) == theirs("FlowMonitorRequest", V14, *wanted)
    two = requests.flow_monitor({28: watch, 44: Watch.REMOVED}).encode(V14, 77)
    one = requests.flow_monitor({28: watch}).encode(V14, 77)
    assert len(two) - len(one) == len(one) - 16, "any number in one message"
