"""`sdn history`, `diff`, `rollback`: what was changed in a lab, and the way back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from datapath.errors import CheckError
from sdn.cli import output, plans
from sdn.cli.events import when
from sdn.cli.output import Cell
from sdn.cli.remote import connected
from sdn.differences import by_name

if TYPE_CHECKING:
    from sdn.client import Client, Difference, Plan, Revision, Rollback

_SIGNS: Final = (("added", "+"), ("changed", "~"), ("removed", "-"))


def history(lab: str | None, api: str | None, most: int, as_json: bool) -> None:
    with connected(lab, api) as client:
        revisions = list(client.revisions(most))
    if as_json:
        output.as_json([revision.raw for revision in revisions])
        return
    columns = ("revision", "when", "who", "by what", "changes", "result", "seconds")
    output.table(columns, [_row(revision) for revision in revisions], right=("revision", "seconds"))


def _row(revision: Revision) -> output.Row:
    took = "" if revision.seconds is None else f"{revision.seconds:.2f}"
    when_ = Cell(_when(revision), output.SOFT)
    return revision.number, when_, revision.author, revision.origin, _changes(revision), _result(revision), took


def _when(revision: Revision) -> str:
    return when(revision.time).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _changes(revision: Revision) -> str:
    """`nodes +2 ~1, ports +3`."""
    told = []
    for kind, count in revision.changes.items():
        numbers = [(sign, getattr(count, verb)) for verb, sign in _SIGNS]
        told.append(" ".join([kind, *(f"{sign}{number}" for sign, number in numbers if number)]))
    return ", ".join(told) or "none"


def _result(revision: Revision) -> Cell:
    if revision.errors:
        return Cell(output.count(len(revision.errors), "error"), output.BAD)
    return Cell("settled", output.GOOD) if revision.settled else Cell("not settled", output.WARNING)


def one(lab: str | None, api: str | None, number: int, as_json: bool) -> None:
    """A revision with what it changed, and its plan."""
    with connected(lab, api) as client:
        revision, plan = client.revision(number), client.plan_of(number)
    if as_json:
        output.as_json({**revision.raw, "plan": plan.raw})
        return
    result, took = _result(revision), "" if revision.seconds is None else f" after {revision.seconds:.2f} s"
    output.say(output.paint(f"revision {number}", output.STRONG) + f" of {_when(revision)} by {revision.author}")
    output.say(f"  by what  {revision.origin or 'not said'}")
    output.say(f"  result   {output.paint(result.text, result.style)}{took}")
    for error in revision.errors:
        output.say(output.paint(f"    {error}", output.BAD))
    output.say()
    _show_entries(revision.entries)
    output.say()
    plans.show(plan.steps, plan.flows, done=True)


# diff


def diff(lab: str | None, api: str | None, old: int, new: int | None, as_json: bool) -> None:
    with connected(lab, api) as client:
        before, after, entries = client.diff(old, new)
    if as_json:
        output.as_json({"from": before, "to": after, "entries": [entry.as_plain() for entry in entries]})
        return
    if not entries:
        output.say(f"revisions {before} and {after} are the same")
        return
    output.say(output.paint(f"--- revision {before}", output.BAD))
    output.say(output.paint(f"+++ revision {after}", output.GOOD))
    _show_entries(entries)


def _show_entries(entries: Sequence[Difference]) -> None:
    """Unified, by object and field."""
    for entry in entries:
        output.say(output.paint(f"@@ {entry.kind} {entry.name} @@", output.ACCENT))
        for line in _lines(entry):
            output.say(output.paint(line, output.GOOD if line[0] == "+" else output.BAD))


def _lines(entry: Difference) -> Iterator[str]:
    if entry.change == "changed":
        for field in entry.fields:
            yield from _sides(field.field, field.before, field.after)
    elif entry.after is not None:
        yield from _leaves("+", entry.after)
    elif entry.before is not None:
        yield from _leaves("-", entry.before)


def _sides(name: str, before: Any, after: Any) -> Iterator[str]:
    if before is not None:
        yield from _leaves("-", before, name)
    if after is not None:
        yield from _leaves("+", after, name)


def _leaves(sign: str, value: Any, place: str = "") -> Iterator[str]:
    """A line for each value; what has names is called by them, as in `ports.eth0.ip`."""
    named = by_name(value)
    if not named:
        yield f"{sign}{place}: {_text(value)}"
        return
    for key, each in named.items():
        yield from _leaves(sign, each, f"{place}.{key}" if place else str(key))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_text(each)}' for key, each in value.items())}}}"
    return str(value)


# rollback


def rollback(lab: str | None, api: str | None, number: int, dry_run: bool, timeout: float, as_json: bool) -> None:
    """What is shown is what is done: if somebody changes the lab in between, it is not."""
    with connected(lab, api) as client:
        asked = client.rollback(number, dry_run=True)
        assert asked.plan is not None
        if not as_json:
            _show_plan(asked, asked.plan)
        done = asked if dry_run else _roll_back(client, asked, timeout)
    if as_json:
        output.as_json(_told(done, asked.plan))
    elif not dry_run:
        _report(asked, done)
    if done.applied and done.applied.missing:
        missing = "\n  ".join(done.applied.missing)
        raise CheckError(f"the lab is not whole after {timeout:g} s:\n  {missing}", remedy="see: sdn status")


def _roll_back(client: Client, asked: Rollback, timeout: float) -> Rollback:
    return client.rollback(asked.to, wait="whole", timeout=timeout, if_match=asked.etag)


def _show_plan(asked: Rollback, plan: Plan) -> None:
    if plans.is_empty(plan.steps, plan.flows):
        output.say(f"no chassis has anything to do: the lab works as in revision {asked.to}")
    else:
        plans.show(plan.steps, plan.flows)


def _report(asked: Rollback, done: Rollback) -> None:
    if not done.changed:
        output.say(f"the lab is already as in revision {done.to}: nothing to do (revision {done.revision})")
        return
    took = f" in {done.applied.seconds:.2f} s" if done.applied else ""
    missing = done.applied.missing if done.applied else ()
    text = f"the lab is as in revision {done.to} again{took}"
    output.say(output.paint(text, output.BAD if missing else output.GOOD) + f" (revision {done.revision})")
    output.say(output.paint(f"next: sdn rollback {asked.revision} undoes this", output.SOFT))


def _told(done: Rollback, plan: Plan) -> dict[str, Any]:
    told: dict[str, Any] = {"to": done.to, "revision": done.revision, "changed": done.changed, "plan": plan.raw}
    if done.applied:
        applied = done.applied
        told["applied"] = {
            "revision": applied.revision,
            "seconds": applied.seconds,
            "missing": list(applied.missing),
        }
    return told
