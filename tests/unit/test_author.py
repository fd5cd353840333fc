"""Who a change is made by, and by what."""

from __future__ import annotations

import asyncio
import getpass
import os

import pytest

from sdn.author import acting, author, origin


def test_behind_sudo_it_is_whoever_called_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ann")
    assert author() == "ann"


def test_else_it_is_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    assert (author(), origin()) == (getpass.getuser(), "")


def test_a_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_123)
    assert author() == "4000000123"


async def test_each_request_acts_for_its_own_caller() -> None:
    async def request(name: str) -> tuple[str, str]:
        with acting(author=name, origin=f"GET /{name}"):
            await asyncio.sleep(0)
            return await asyncio.to_thread(lambda: (author(), origin()))

    assert await asyncio.gather(request("ann"), request("bob")) == [("ann", "GET /ann"), ("bob", "GET /bob")]
    assert origin() == ""
