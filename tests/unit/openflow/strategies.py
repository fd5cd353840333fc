"""Random flows: any that the wire format can carry (no switch would take most of them)."""

from __future__ import annotations

from hypothesis import strategies as st

from datapath.openflow.flow import (
    Action,
    Flow,
    Learn,
    LearnLoad,
    LearnMatch,
    LearnMatchValue,
    LearnOutput,
    Load,
    Match,
    MatchField,
    Move,
    Multipath,
    Output,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    canonical,
)
from datapath.openflow.oxm import FIELDS

OSKEN_LACKS = {"nd_reserved", "nd_options_type"}
OSKEN_SORTS_OTHERWISE = {"nw_ttl"}
U8, U16, U32, U64 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32, 64))
ALL_FIELDS = sorted(FIELDS)
OSKEN_FIELDS = sorted(set(FIELDS) - OSKEN_LACKS)


@st.composite
def match_fields(draw: st.DrawFn, names: list[str]) -> MatchField:
    field = FIELDS[draw(st.sampled_from(names))]
    value = draw(st.integers(0, field.all_ones))
    mask = draw(st.none() | st.integers(0, field.all_ones)) if field.name != "nxm_in_port" else None
    return MatchField(field.name, value, mask)


@st.composite
def matches(draw: st.DrawFn, names: list[str] = ALL_FIELDS) -> Match:
    fields = draw(st.lists(match_fields(names), max_size=8, unique_by=lambda item: item.field))
    return canonical(item for item in fields if item.field != "nxm_in_port")


@st.composite
def set_fields(draw: st.DrawFn, names: list[str]) -> SetField:
    field = FIELDS[draw(st.sampled_from(names))]
    return SetField(field.name, draw(st.integers(0, field.all_ones)))


@st.composite
def loads(draw: st.DrawFn, names: list[str]) -> Load:
    field = FIELDS[draw(st.sampled_from(names))]
    bits = draw(st.integers(1, min(64, field.bits)))
    offset = draw(st.integers(0, min(field.bits - bits, 1023)))
    return Load(field.name, offset, bits, draw(st.integers(0, (1 << bits) - 1)))


@st.composite
def moves(draw: st.DrawFn, names: list[str]) -> Move:
    source, target = (FIELDS[draw(st.sampled_from(names))] for _ in range(2))
    bits = draw(st.integers(1, min(source.bits, target.bits)))
    offsets = [draw(st.integers(0, field.bits - bits)) for field in (source, target)]
    return Move(source.name, target.name, bits, *offsets)


@st.composite
def learn_specs(draw: st.DrawFn, names: list[str]) -> LearnMatch | LearnMatchValue | LearnLoad | LearnOutput:
    source, target = (FIELDS[draw(st.sampled_from(names))] for _ in range(2))
    bits = draw(st.integers(1, min(source.bits, target.bits, 64)))
    value = draw(st.integers(0, (1 << bits) - 1))
    return draw(
        st.sampled_from(
            [
                LearnMatch(target.name, source.name, bits),
                LearnMatchValue(target.name, value, bits),
                LearnLoad(target.name, value, bits),
                LearnOutput(source.name, bits),
            ]
        )
    )


def learns(names: list[str]) -> st.SearchStrategy[Learn]:
    specs = st.lists(learn_specs(names), max_size=4).map(tuple)
    return st.builds(Learn, st.integers(0, 254), U16, U64, U16, U16, specs)


def multipaths() -> st.SearchStrategy[Multipath]:
    return st.builds(
        Multipath, st.integers(0, 1), U16, st.integers(1, 0xFFFF), st.just("reg4"), st.integers(0, 8), st.just(16)
    )


def actions(names: list[str] = ALL_FIELDS) -> st.SearchStrategy[Action]:
    return st.one_of(
        st.builds(Output, U32, U16),
        set_fields(names),
        loads(names),
        moves(names),
        st.builds(PushVlan, st.sampled_from([0x8100, 0x88A8])),
        st.just(PopVlan()),
        multipaths(),
        st.builds(Resubmit, st.integers(0, 254)),
        learns(names),
    )


def flows(match_names: list[str] = ALL_FIELDS, action_names: list[str] = ALL_FIELDS) -> st.SearchStrategy[Flow]:
    return st.builds(
        Flow,
        table=st.integers(0, 254),
        priority=U16,
        match=matches(match_names),
        actions=st.lists(actions(action_names), max_size=6).map(tuple),
        goto=st.none() | st.integers(0, 254),
        cookie=U64,
        idle_timeout=U16,
        hard_timeout=U16,
    )
