"""The store's server: awaited, away, found again, refused where its file is damaged."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from datapath.errors import SdnError, TransientError
from sdn.store import Server, Store, running_server, start_server
from tests.lab.stores import server
from tests.unit.store.models import big

pytestmark = pytest.mark.lab
__all__ = ["server"]


def test_open_waits_for_a_store_that_is_about_to_start(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match=r"did not answer within 0\.3 s"):
        Store.open(tmp_path / "store.sock", timeout=0.3)
    opened: list[Store] = []
    thread = threading.Thread(target=lambda: opened.append(Store.open(tmp_path / "store.sock")))
    thread.start()
    server = start_server(tmp_path)
    thread.join()
    opened[0].close()
    server.stop()


def test_a_store_that_is_away_is_a_transient_error(server: Server) -> None:
    store = Store.open(server.socket, timeout=0.5)
    server.signal(signal.SIGKILL)
    server.wait()
    with pytest.raises(TransientError, match=r"did not answer within 0\.5 s"):
        store.write(big(ports=1))
    store.close()


def test_a_running_server_is_found_and_its_files_are_private(tmp_path: Path, server: Server) -> None:
    again = start_server(tmp_path)
    assert again.pid == server.pid
    assert not again.wait(0)
    for name in ("store.db", "store.sock", "logs/store.log"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0, name
    assert os.getpgid(again.pid) != os.getpgid(0)
    again.stop()
    assert running_server(tmp_path) is None
    assert server.wait(0)
    server.signal(signal.SIGTERM)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_text("not a database")
    with pytest.raises(SdnError, match=r"store\.db"):
        start_server(tmp_path)
