from __future__ import annotations

from dataclasses import replace

from datapath.linux.ruleset import Ruleset, Set, digest

ONE = Ruleset(
    "ip", "sdn:lab:hv1", (Set("known", "type ipv4_addr", frozenset({"10.0.0.1", "10.0.0.2"})),), "chain x {\n}"
)


def with_elements(*elements: str) -> Ruleset:
    return replace(ONE, sets=(replace(ONE.sets[0], elements=frozenset(elements)),))


def test_a_replacement_deletes_what_may_be_there_in_the_same_breath() -> None:
    assert ONE.replacement() == (
        "table ip sdn\ndelete table ip sdn\ntable ip sdn {\n"
        'comment "sdn:lab:hv1"\n'
        "set known {\ntype ipv4_addr\nelements = { 10.0.0.1, 10.0.0.2 }\n}\n"
        "chain x {\n}\n}\n"
    )


def test_an_empty_set_has_no_elements_line() -> None:
    assert "elements" not in with_elements().replacement()


def test_changes_are_of_elements_and_those_that_go_go_first() -> None:
    assert with_elements("10.0.0.2", "10.0.0.3").changes(ONE) == (
        "delete element ip sdn known { 10.0.0.1 }\nadd element ip sdn known { 10.0.0.3 }\n"
    )
    assert ONE.changes(ONE) == ""


def test_other_chains_sets_or_marks_are_more_than_a_change_of_elements() -> None:
    assert replace(ONE, rules="chain y {\n}").changes(ONE) is None
    assert replace(ONE, mark="sdn:lab:hv2").changes(ONE) is None
    assert replace(ONE, sets=(replace(ONE.sets[0], declaration="type ifname"),)).changes(ONE) is None


def test_the_digest_is_of_all_of_it() -> None:
    assert digest([ONE]) == digest([with_elements("10.0.0.2", "10.0.0.1")])
    assert len({digest([ONE]), digest([with_elements("10.0.0.2")]), digest([replace(ONE, family="bridge")])}) == 3
