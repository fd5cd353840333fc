"""Test results as JUnit XML, as CI systems read it. `write` alone touches the disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from sdn.lab.pairs import Verdict


def document(lab: str, verdicts: Sequence[Verdict], reasons: Mapping[str, Sequence[str]], seconds: float) -> str:
    """`reasons` are the lines that explain a failed test, by its name."""
    failed = sum(not verdict.passed for verdict in verdicts)
    counts = {"tests": str(len(verdicts)), "failures": str(failed), "errors": "0", "time": f"{seconds:.3f}"}
    suites = ET.Element("testsuites", counts)
    suite = ET.SubElement(suites, "testsuite", {"name": lab, **counts})
    for verdict in verdicts:
        source = verdict.test.source
        place = {"file": source.file, "line": str(source.line)}
        case = ET.SubElement(
            suite,
            "testcase",
            {"classname": f"sdn.{lab}", "name": verdict.test.name, "time": f"{verdict.seconds:.3f}", **place},
        )
        if not verdict.passed:
            lines = reasons.get(verdict.test.name, [])
            failure = ET.SubElement(case, "failure", {"message": lines[0] if lines else "failed", "type": "assertion"})
            failure.text = "\n".join(lines)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
