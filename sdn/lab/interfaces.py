"""The machine's interfaces that a file gives to physical networks: looked at before anything is touched.

Enters: a Model, and what is on the machine. Leaves: an error with everything that is in the way, or words for the plan.
Never: a change of anything; the agent makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from datapath.errors import ConflictError, MachineError, SdnError
from datapath.linux.uplink import Found, describe, look, trouble
from sdn.compile import uplink
from sdn.model import Model


def inspect(model: Model, find: Callable[[str], Found] = look) -> dict[str, str]:
    """By physical network with an interface: what giving it away does. Raises ConflictError or MachineError with all
    that is in the way; `find` looks at an interface."""
    wanted = {name: physnet for name, physnet in model.physnets.items() if physnet.interface}
    found = {name: find(physnet.interface) for name, physnet in wanted.items()}
    check(model, found)
    return {name: describe(model.lab, uplink(model.physnets[name]), each) for name, each in found.items()}


def check(model: Model, found: Mapping[str, Found]) -> None:
    errors = []
    for name, each in found.items():
        error = trouble(model.lab, uplink(model.physnets[name]), each)
        if error is not None:
            errors.append((f"{model.physnets[name].source}: {error.message}", error))
    if not errors:
        return
    message = "\n  ".join(text for text, _ in errors)
    remedy = "; ".join(dict.fromkeys(error.remedy for _, error in errors if error.remedy))
    raise _kind([error for _, error in errors], message, remedy)


def _kind(errors: list[SdnError], message: str, remedy: str) -> SdnError:
    """What the machine lacks comes first: it ends the command with another code."""
    missing = next((error for error in errors if isinstance(error, MachineError)), None)
    return MachineError(missing.feature, message, remedy=remedy) if missing else ConflictError(message, remedy=remedy)
