"""Configurations go through JSON and back unchanged, and what does not fit is named."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multum.core.config import check_fields, differing_keys, from_dict, load_json, save_json, to_dict, to_json
from multum.core.errors import UserError, invalid


@dataclass(frozen=True, kw_only=True)
class Inner:
    keep_ratio: float = 0.5
    kind: Literal["flat", "late", 3] = "flat"

    def __post_init__(self) -> None:
        if not 0 < self.keep_ratio <= 1:
            raise invalid("keep_ratio", "in (0, 1]", self.keep_ratio)


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    num_layers: int = 6
    fast: bool = False
    inner: Inner = Inner()
    stages: tuple[Inner, ...] = ()
    pair: tuple[int, float] = (1, 0.5)
    folder: Path | None = None
    weights: dict[str, float] = field(default_factory=dict)
    by_layer: dict[int, str] = field(default_factory=dict)
    size: int | float | str = 1
    names: list[str] = field(default_factory=list)
    choice: Inner | str = "none"
    anything: Any = None
    derived: int = field(init=False, default=7)


FULL = Outer(
    name="a",
    num_layers=2,
    fast=True,
    inner=Inner(keep_ratio=0.1, kind=3),
    stages=(Inner(), Inner(kind="late")),
    pair=(2, 1 / 3),
    folder=Path("some/where"),
    weights={"x": 1.0},
    by_layer={4: "four"},
    size=2.0,
    names=["b"],
    choice=Inner(kind="late"),
    anything={"free": [1, None]},
)


def test_full_configuration_survives_the_round_trip(tmp_path: Path) -> None:
    save_json(FULL, tmp_path / "config.json")
    assert load_json(Outer, tmp_path / "config.json") == FULL


def test_defaults_fill_what_is_not_there() -> None:
    assert from_dict(Outer, {"name": "a"}) == Outer(name="a")


def test_derived_fields_are_neither_told_nor_read() -> None:
    assert "derived" not in to_dict(FULL)
    with pytest.raises(UserError, match="derived is not a key of Outer"):
        from_dict(Outer, {"name": "a", "derived": 7})


def test_int_is_accepted_where_a_float_is_wanted_and_becomes_one() -> None:
    inner = from_dict(Inner, {"keep_ratio": 1})
    assert type(inner.keep_ratio) is float


def test_union_prefers_the_exact_type() -> None:
    assert type(from_dict(Outer, {"name": "a", "size": 2}).size) is int
    assert type(from_dict(Outer, {"name": "a", "size": 2.0}).size) is float
    assert from_dict(Outer, {"name": "a", "size": "big"}).size == "big"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "name is missing; Outer has no default for it"),
        ([], "Outer must be an object with named fields; got []"),
        ({"name": "a", "num_layer": 3}, "num_layer is not a key of Outer; did you mean num_layers?"),
        ({"name": "a", "inner": {"keep": 1}}, "inner.keep is not a key of Inner; did you mean keep_ratio?"),
        ({"name": "a", "num_layers": True}, "num_layers must be an int; got True"),
        ({"name": "a", "num_layers": 3.0}, "num_layers must be an int; got 3.0"),
        ({"name": "a", "fast": 1}, "fast must be true or false; got 1"),
        ({"name": 3}, "name must be a string; got 3"),
        ({"name": "a", "inner": {"keep_ratio": "x"}}, "inner.keep_ratio must be a number; got 'x'"),
        ({"name": "a", "inner": {"keep_ratio": 2}}, "inner: keep_ratio must be in (0, 1]; got 2.0"),
        ({"name": "a", "inner": {"keep_ratio": math.nan}}, "inner.keep_ratio must be finite; got nan"),
        ({"name": "a", "inner": {"kind": "flatt"}}, "inner.kind must be one of flat, late, 3"),
        ({"name": "a", "stages": [{}, {"kind": True}]}, "stages[1].kind must be one of"),
        ({"name": "a", "stages": "x"}, "stages must be a list; got 'x'"),
        ({"name": "a", "pair": [1]}, "pair must be a list of 2 values; got [1]"),
        ({"name": "a", "pair": [1, "x"]}, "pair[1] must be a number; got 'x'"),
        ({"name": "a", "folder": 3}, "folder must be a path; got 3"),
        ({"name": "a", "weights": {"x": None}}, "weights.x must be a number; got None"),
        ({"name": "a", "weights": [1]}, "weights must be an object with named fields; got [1]"),
        ({"name": "a", "by_layer": {"four": "x"}}, "a key of by_layer must be an int; got 'four'"),
        ({"name": "a", "names": "b"}, "names must be a list; got 'b'"),
        ({"name": "a", "choice": 3}, "choice fits none of its 2 forms"),
        ({"name": "a", "inner": None}, "inner must be an object with named fields; got None"),
    ],
)
def test_what_does_not_fit_is_named(data: object, message: str) -> None:
    with pytest.raises(UserError) as caught:
        from_dict(Outer, data)
    assert message in str(caught.value)


def test_near_miss_of_a_literal_is_suggested() -> None:
    with pytest.raises(UserError, match="did you mean late"):
        from_dict(Inner, {"kind": "lates"})


def test_error_in_a_file_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('{"name": "a", "oops": 1}')
    with pytest.raises(UserError, match=r"c\.json: oops is not a key"):
        load_json(Outer, tmp_path / "c.json")


def test_field_that_json_cannot_hold_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"anything\.deep\[0\] must be"):
        to_dict(Outer(name="a", anything={"deep": [object()]}))
    with pytest.raises(UserError, match="size must be finite"):
        to_json(Outer(name="a", size=math.inf))


def test_class_is_not_taken_for_an_instance() -> None:
    with pytest.raises(TypeError, match="must be an instance of a dataclass"):
        to_dict(Outer)


def test_field_type_that_no_configuration_may_have_is_our_bug() -> None:
    @dataclass(frozen=True)
    class Odd:
        value: complex = 0j

    with pytest.raises(TypeError, match="cannot be of type") as caught:
        from_dict(Odd, {"value": 1})
    assert not isinstance(caught.value, UserError)


def test_differences_are_dotted_and_see_missing_keys_and_types() -> None:
    first = {"a": {"b": 1, "c": [1]}, "d": 1, "only": 0}
    second = {"a": {"b": 1, "c": [2]}, "d": True}
    assert differing_keys(first, second) == ["a.c", "d", "only"]
    assert differing_keys(first, first) == []


finite = st.floats(allow_nan=False, allow_infinity=False)
inners = st.builds(
    Inner,
    keep_ratio=st.floats(min_value=0, max_value=1, exclude_min=True),
    kind=st.sampled_from(["flat", "late", 3]),
)


@given(
    st.builds(
        Outer,
        name=st.text(alphabet=st.characters(exclude_categories=["Cs"])),
        num_layers=st.integers(),
        fast=st.booleans(),
        inner=inners,
        stages=st.lists(inners, max_size=3).map(tuple),
        pair=st.tuples(st.integers(), finite),
        folder=st.none() | st.just(Path("a/b")),
        weights=st.dictionaries(st.sampled_from("xyz"), finite),
        by_layer=st.dictionaries(st.integers(), st.sampled_from("xyz")),
        size=st.integers() | finite | st.sampled_from("xyz"),
        names=st.lists(st.sampled_from("xyz")),
        choice=inners | st.sampled_from("xyz"),
    )
)
def test_any_configuration_survives_the_round_trip(config: Outer) -> None:
    assert from_dict(Outer, to_dict(config)) == config


@dataclass(frozen=True, kw_only=True)
class Held:
    """Holds its fields to their annotations."""

    count: int = 1
    part: float = 0.5
    parts: float | tuple[float, ...] = 0.5
    ids: tuple[int, ...] | None = None
    inner: Inner | None = None

    def __post_init__(self) -> None:
        check_fields(self)


def test_fields_built_in_python_become_what_they_are_annotated_as() -> None:
    held = Held(count=np.int64(3), part=1, parts=[1, np.float32(0.5)], ids=[1, 2])  # type: ignore[arg-type]
    assert held == Held(count=3, part=1.0, parts=(1.0, 0.5), ids=(1, 2))
    assert [type(it) for it in (held.count, held.part, held.parts)] == [int, float, tuple]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 1.5}, "count must be an int; got 1.5"),
        ({"count": math.nan}, "count must be an int; got nan"),
        ({"count": True}, "count must be an int; got True"),
        ({"part": math.nan}, "part must be finite; got nan"),
        ({"part": "a"}, "part must be a number; got 'a'"),
        ({"parts": (0.5, "a")}, r"parts\[1\] must be a number; got 'a'"),
        ({"parts": None}, "parts must be a number; got None"),
        ({"ids": (1, 2.5)}, r"ids\[1\] must be an int; got 2.5"),
        ({"ids": 3}, "ids must be a list; got 3"),
        ({"inner": Held()}, "inner must be of type Inner; got Held"),
    ],
)
def test_fields_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Held(**changes)  # type: ignore[arg-type]
