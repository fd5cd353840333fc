"""The JSON module of `ovs` as it is shipped, beside the patched one: loaded a second time under another name."""

from __future__ import annotations

import importlib.util
from typing import Any

import ovs.json

_spec = importlib.util.spec_from_file_location("ovs_json_as_shipped", ovs.json.__file__)
assert _spec is not None
assert _spec.loader is not None
_module: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
_module.PARSER = _module.PARSER_PY  # the C extension of a distribution is not what we compare with

from_string = _module.from_string
to_string = _module.to_string
