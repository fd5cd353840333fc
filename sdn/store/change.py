"""One road for every change: an edit is made of the newest model, and made again where somebody else was faster.

Enters: a function from one Model to the next; who wants it, and from which revision on. Leaves: what is in the store
then. Never: a change made of a model that the store has left, which would undo somebody else's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from datapath.errors import StaleError, TransientError
from sdn.model import Model
from sdn.model.history import Changes, Revision

TRIES: Final = 50
"""Of a change that others are always faster than."""
NEWS: Final = 1.0
"""Seconds within which the replica here has what the store has."""

Edit = Callable[[Model | None], Model]
"""From the model in the store, None for an empty one, to what shall be there. It may be called again."""


@dataclass(frozen=True, slots=True)
class Since:
    """A precondition: nothing has changed after `revision` that `touches` tells of."""

    revision: int
    touches: Callable[[Changes], bool] = bool


@dataclass(frozen=True, slots=True)
class Written:
    """What a change came to; `before` is None for a lab's first. `changed` is False where it was so already."""

    revision: int
    model: Model
    before: Model | None

    @property
    def changed(self) -> bool:
        return self.before is None or self.before.revision != self.revision


class Place(Protocol):
    """A store, as far as changes need one."""

    def model(self) -> Model | None: ...

    def revisions(self) -> Mapping[int, Revision]: ...

    def write(self, model: Model, *, author: str, origin: str, expected: int | None, anew: bool) -> int: ...

    def await_revision(self, revision: int, timeout: float) -> bool: ...


def change(
    store: Place,
    edit: Edit,
    *,
    author: str = "",
    origin: str = "",
    since: Since | None = None,
    anew: Callable[[Model | None], bool] = lambda _: False,
) -> Written:
    """`anew` says of the model that was there whether the new one is a revision even if nothing differs.

    Raises whatever `edit` raises, StaleError where `since` does not hold, TransientError where the store is away.
    """
    for _ in range(TRIES):
        base = newest(store, since)
        model = edit(base)
        present = base.revision if base else 0
        try:
            revision = store.write(model, author=author, origin=origin, expected=present, anew=anew(base))
        except StaleError as error:
            store.await_revision(error.present, NEWS)
            continue
        return Written(revision, model.with_revision(revision), base)
    raise TransientError(f"lab {model.lab} is changed by others all the time", remedy="try again")


def newest(store: Place, since: Since | None) -> Model | None:
    """The store's model, if what `since` says holds of it. Raises StaleError."""
    if since is not None and since.revision:
        store.await_revision(since.revision, NEWS)
    model = store.model()
    present = model.revision if model else 0
    if since is None or since.revision == present:
        return model
    revisions = store.revisions()
    newer = [revisions.get(number) for number in range(since.revision + 1, present + 1)]
    if since.revision > present or any(each is None or since.touches(each.changes) for each in newer):
        raise StaleError(since.revision, present)
    return model
