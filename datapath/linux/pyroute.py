"""The three message classes of pyroute2 that we encode with, without the rest of it.

Enters: nothing. Leaves: the classes. Never: `pyroute2/__init__.py`, which imports every protocol it knows and a
database beside: 200 modules, 65 ms, 10 MB in each agent. So the package is an empty one while its modules are imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from importlib.util import module_from_spec

_NAME = "pyroute2"


@contextmanager
def _without_init() -> Iterator[None]:
    """Nothing of it stays in sys.modules: whoever imports the package later gets the whole."""
    spec = None if _NAME in sys.modules else PathFinder.find_spec(_NAME)
    if spec is None:
        yield
        return
    spec.loader = None  # a package of its path alone
    sys.modules[_NAME] = module_from_spec(spec)
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name == _NAME or name.startswith(f"{_NAME}.")]:
            del sys.modules[name]


with _without_init():
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
    from pyroute2.netlink.rtnl.ndmsg import ndmsg

__all__ = ["ifaddrmsg", "ifinfmsg", "ndmsg"]
