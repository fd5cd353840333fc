"""The example files, their JSON schema, and how long a large file takes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sdn.topology import json_schema, parse, read
from sdn.topology.nodes import load

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "topologies" / "schema.json"
EXAMPLES = sorted((ROOT / "topologies").glob("*.yaml"))


def test_the_schema_is_current() -> None:
    assert json.loads(SCHEMA.read_text()) == json_schema(), "run python -m sdn.topology.schema > topologies/schema.json"


def test_the_schema_is_written_by_the_module() -> None:
    command = [sys.executable, "-W", "error", "-m", "sdn.topology.schema"]
    written = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert written == SCHEMA.read_text()


def test_every_key_is_described_and_no_other_is_allowed() -> None:
    schema = json_schema()
    parts = [schema, *schema["$defs"].values()]
    for part in parts:
        assert part["additionalProperties"] is False
        for name, content in part["properties"].items():
            assert content.get("description"), name


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path: Path) -> None:
    model = read(path)
    assert model.lab == path.stem
    assert model.tests
    assert model == read(path, model)
    assert path.read_text().startswith("# yaml-language-server: $schema=schema.json\n")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_validates(path: Path) -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert list(validator.iter_errors(load(path.read_text(), str(path)).data)) == []


def wrong(data: Any) -> dict[str, Any]:
    return {"name": "x", "chassis": {"hv1": {}}, **data}


@pytest.mark.parametrize(
    "data",
    [
        {"nodes": {"A": {"network": "web"}}},
        {"nodes": {"a": {"netwrok": "web"}}},
        {"networks": {"web": {"segment": {}}}},
        {"networks": {"web": {"segment": {"vxlan": 5, "geneve": 5}}}},
        {"networks": {"web": {"segment": {"vxlan": 1 << 24}}}},
        {"chassis": {}},
    ],
)
def test_the_schema_refuses_too(data: dict[str, Any]) -> None:
    assert list(jsonschema.Draft202012Validator(json_schema()).iter_errors(wrong(data)))


def test_a_thousand_nodes_line_by_line_are_quick() -> None:
    """Measured 0.05 s; the limit only catches work per port that belongs to an entry, on a busy machine too."""
    head = (
        "name: big\nchassis: {'hv[1-20]': {}}\nnetworks: {web: {segment: {vxlan: 100}, subnet: 10.10.0.0/16}}\nnodes:\n"
    )
    text = head + "".join(f"  web{i}: {{network: web, chassis: hv{i % 20 + 1}}}\n" for i in range(1000))
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        assert len(parse(text, "big.yaml").ports) == 1000
        taken.append(time.perf_counter() - start)
    assert min(taken) < 1.0


def test_importing_it_is_light() -> None:
    """What nobody asked for is not imported: the command line starts with this package."""
    code = (
        "import sys, sdn.topology; "
        "print([name for name in ('pydantic', 'yaml') if name in sys.modules]); import sdn.topology.build; "
        "print([n for n in ('pyroute2', 'ovs', 'os_ken', 'rich', 'typer', 'networkx', 'difflib') if n in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n[]\n"
