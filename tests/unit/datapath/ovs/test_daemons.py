"""Whose daemon it is, is read from its command line; nothing else gets a signal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from datapath.ovs.daemons import Place, _is_of_lab, adopt, namespace_of

RUN = Path("/run/sdn/lab")


@pytest.mark.parametrize(
    ("arguments", "ours"),
    [
        (["/usr/sbin/ovs-vswitchd", "unix:x", "--pidfile=/run/sdn/lab/hv1/ovs-vswitchd.pid"], True),
        (["ovsdb-server", "conf.db", "--pidfile=/run/sdn/lab/hv1/ovsdb-server.pid"], True),
        (["ovsdb-server", "store.db", "--pidfile=/run/sdn/lab/store.pid"], False),  # the store of the lab
        (["ovs-vswitchd", "--pidfile=/run/sdn/lab2/hv1/ovs-vswitchd.pid"], False),
        (["ovs-vswitchd", "--pidfile=/run/openvswitch/ovs-vswitchd.pid"], False),
        (["vi", "--pidfile=/run/sdn/lab/hv1/ovs-vswitchd.pid"], False),
        ([], False),
    ],
)
def test_daemons_of_the_lab(arguments: list[str], ours: bool) -> None:
    assert _is_of_lab(arguments, RUN) is ours


def test_a_pid_that_is_somebody_else_by_now_is_not_adopted(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert adopt(place, "ovs-vswitchd") is None
    assert namespace_of(place, "ovs-vswitchd") == 0
    place.pidfile("ovs-vswitchd").write_text(f"{os.getpid()}\n")
    assert adopt(place, "ovs-vswitchd") is None
    place.pidfile("ovs-vswitchd").write_text("rubbish")
    assert adopt(place, "ovs-vswitchd") is None


def test_a_place_is_furnished_once(tmp_path: Path) -> None:
    blank = tmp_path / "template"
    blank.write_text("blank")
    place = Place(tmp_path / "hv1")
    place.furnish(blank)
    assert place.database.read_text() == "blank"
    assert os.readlink(place.directory / "br-int.controller") == "../openflow.sock"
    place.database.write_text("in use")
    place.furnish(blank)
    assert place.database.read_text() == "in use"
