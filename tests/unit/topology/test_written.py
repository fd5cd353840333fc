"""A model written out and built again is the same model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sdn.model import Model
from sdn.topology import parse, read, written
from sdn.topology.edit import built
from tests.topologies import files, model_of

EXAMPLES = sorted(Path("topologies").glob("*.yaml"))


@given(st.one_of(files(), files(linux=True, machine=True, guests=True)))
def test_it_is_the_same_model(file: dict[str, Any]) -> None:
    model = model_of(file)
    assert built(written.document(model), model) == model


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_survive_json_and_yaml(path: Path) -> None:
    """Their places in the file apart, also without the running lab's numbers."""
    model = read(path)
    text = json.dumps(written.document(model))
    assert built(json.loads(text), model) == model
    anew = parse(yaml.safe_dump(json.loads(text), sort_keys=False), "written.yaml")
    assert written.document(anew) == written.document(model)
    assert {name: port.id for name, port in anew.ports.items()} == {name: port.id for name, port in model.ports.items()}


def test_every_entry_can_be_asked_for() -> None:
    model = read(Path("topologies/guests.yaml"))
    whole = written.document(model)
    for section in written.SECTIONS:
        assert list(whole[section]) == written.names(model, section)
        for name in whole[section]:
            assert written.entry(model, section, name) == whole[section][name]
    with pytest.raises(KeyError):
        written.entry(model, "nodes", next(iter(model.guests)))


def test_user_data_is_written_as_it_is(tmp_path: Path) -> None:
    """As the lines that they are, since the file that they came from may be another machine's."""
    model = _with_user_data(tmp_path, "#cloud-config\nhostname: x\n")
    assert written.entry(model, "guests", "g")["cloud"]["user_data"] == "#cloud-config\nhostname: x\n"
    assert built(written.document(model), model) == model


def _with_user_data(home: Path, text: str) -> Model:
    (home / "image.raw").write_bytes(b"")
    (home / "user").write_text(text)
    file = home / "t.yaml"
    file.write_text(
        "name: t\nchassis: {hv1: {}}\nnetworks: {n: {segment: {vxlan: 5}}}\n"
        "guests: {g: {network: n, image: image.raw, cloud: {user_data: user}}}\n"
    )
    return read(file)
