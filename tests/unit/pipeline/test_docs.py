"""The page about the pipeline says what the code does."""

from __future__ import annotations

from pathlib import Path

from sdn import docs
from sdn.pipeline import TABLES
from sdn.pipeline.layout import Table

PAGE = Path(__file__).parents[3] / "docs" / "pipeline.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == docs.page(), "run: make docs"


def test_every_table_has_its_module() -> None:
    modules = {module.__name__.rpartition(".")[2] for module in TABLES}
    assert modules | {Table.LEARNED.label} == {table.label for table in Table}
