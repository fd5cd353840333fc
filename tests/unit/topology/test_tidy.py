"""A model as text that one likes to edit: it is the same model when it is read, and it is short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sdn.topology import parse, read, written
from sdn.topology.nodes import load
from sdn.topology.text import WIDTH, text
from sdn.topology.tidy import tidy
from tests.topologies import files, model_of

EXAMPLES = sorted(Path("topologies").glob("*.yaml"))


@settings(max_examples=60, deadline=None)
@given(st.one_of(files(), files(linux=True, machine=True, guests=True)))
def test_it_is_the_same_model(file: dict[str, Any]) -> None:
    model = model_of(file)
    assert written.document(parse(text(tidy(model)), "t.yaml")) == written.document(model)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples(path: Path) -> None:
    model = read(path)
    found = text(tidy(model))
    assert written.document(parse(found, "t.yaml")) == written.document(model)
    assert parse(found, "t.yaml", model).ports.keys() == model.ports.keys()
    assert "mac:" not in found, "MACs are chosen by names"
    assert "spoof_guard: true" not in found


def test_what_it_looks_like() -> None:
    file = """name: t
underlay: {subnet: 172.31.0.0/24, mtu: 1500}

chassis:
  hv1: {}
  hv2: {datapath: linux, memory: 1G}

networks:
  web: {segment: {vxlan: 10}, subnets: [10.0.0.0/24, "fd00::/64"]}

nodes:
  web1: {chassis: hv1, mac: "02:00:00:00:00:01", network: web, ip: [10.0.0.5, "fd00::5"]}
  two:
    chassis: hv2
    ports:
      - {name: eth0, network: web, ip: [10.0.0.6, "fd00::6"]}
      - {name: eth1, network: web, ip: [10.0.0.7, "fd00::7"]}

tests:
  all: {from: web1, to: two, ping: ok}
"""
    assert text(tidy(parse(file, "t.yaml"))) == file


def test_a_file_that_is_gone_does_not_hide_the_rest(tmp_path: Path) -> None:
    (tmp_path / "image.raw").write_bytes(b"")
    file = tmp_path / "t.yaml"
    file.write_text(
        "name: t\nchassis: {hv1: {}}\nnetworks: {n: {segment: {vxlan: 5}}}\n"
        "guests: {g: {network: n, image: image.raw}}\n"
    )
    model = read(file)
    (tmp_path / "image.raw").unlink()
    found = load(text(tidy(model)), "t.yaml").data
    assert found["guests"]["g"]["image"] == str(tmp_path / "image.raw")


WORDS = ("on", "No", "~", "1e3", "0x1f", "12:34:56", "1_000", ".5", "-", "=", "<<", "a: b", "#x", "x\n", "a\n\nb\n", "")
SCALARS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(WORDS),
    st.booleans(),
    st.none(),
    st.integers(-(10**9), 10**20),
    st.floats(0.125, 1e6),
)
KEYS = st.one_of(st.text(max_size=9), st.sampled_from(WORDS)).filter(lambda key: not key.isdecimal())
VALUES = st.recursive(SCALARS, lambda inside: st.lists(inside) | st.dictionaries(KEYS, inside), max_leaves=9)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(KEYS, VALUES, min_size=1))
def test_every_reader_reads_the_same(document: dict[str, Any]) -> None:
    found = text(document)
    assert yaml.safe_load(found) == document
    assert load(found, "t.yaml").data == document


def test_lines() -> None:
    script = "#!/bin/sh\n\necho on\n"
    found = text({"guests": {"g": {"cloud": {"user_data": script}}}})
    assert found.splitlines() == [
        "guests:",
        "  g:",
        "    cloud:",
        "      user_data: |",
        "        #!/bin/sh",
        "",
        "        echo on",
    ]
    assert load(found, "t").data["guests"]["g"]["cloud"]["user_data"] == script
    assert max(map(len, text({"x": {"y": {"z": ["word"] * 40}}}).splitlines())) < WIDTH
