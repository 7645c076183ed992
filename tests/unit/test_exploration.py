"""Design-space exploration: fields by name, every combination, nothing dropped, and the front that nothing beats."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multum.accelerator import Architecture, Workload, energy_of, exploration, simulate, spatten_eighth
from multum.accelerator.area import area_of
from multum.accelerator.exploration import (
    MOST_POINTS,
    OBJECTIVES,
    Conditions,
    Point,
    evaluate,
    explore,
    grid,
    pareto,
)
from multum.accelerator.fields import built, fields_of, named, read_setting, with_fields
from multum.core import UserError, UserTypeError

WORK = Workload.from_counts(keys=[[512, 256]], heads=4, values=[[128, 64]], key_bits=8, value_bits=8)
SPATTEN = Architecture()


# fields ---------------------------------------------------------------------------------------------------------------


def test_every_field_can_be_named_and_set_to_what_it_is() -> None:
    for architecture in (SPATTEN, spatten_eighth()):
        fields = fields_of(architecture)
        assert with_fields(architecture, fields) == architecture
        assert {"clock_ghz", "value_topk.parallelism", "hbm_timings.rfc", "query_key.multipliers"} <= set(
            fields
        )


def test_a_field_is_set_and_nothing_else_changes() -> None:
    changed = with_fields(SPATTEN, {"query_key.multipliers": 256})
    before, after = fields_of(SPATTEN), fields_of(changed)
    assert {name for name in before if before[name] != after[name]} == {"query_key.multipliers"}


@pytest.mark.parametrize("parallelism", [1, 2, 16, 64])
def test_engines_keep_their_capacity(parallelism: int) -> None:
    for unit in ("value_topk", "token_topk"):
        changed = getattr(with_fields(SPATTEN, {f"{unit}.parallelism": parallelism}), unit)
        assert (changed.parallelism, changed.capacity) == (parallelism, SPATTEN.value_topk.capacity)
    assert with_fields(SPATTEN, {"softmax.lanes": parallelism}).softmax.capacity == SPATTEN.softmax.capacity


def test_what_is_given_goes_over_what_would_follow() -> None:
    changed = with_fields(SPATTEN, {"value_topk.parallelism": 8, "value_topk.fifo_depth": 512})
    assert changed.value_topk.capacity == 4096


def test_a_longer_buffer_deepens_what_lies_behind_it() -> None:
    changed = with_fields(SPATTEN, {"key_sram.rows": 3000})
    assert (changed.key_sram.rows, changed.value_sram.rows) == (3000, 3000)
    for unit in (changed.softmax, changed.value_topk, changed.token_topk):
        assert 3000 <= unit.capacity < 3000 + 16
    shorter = with_fields(SPATTEN, {"key_sram.rows": 512})
    assert (shorter.value_sram.rows, shorter.softmax) == (512, SPATTEN.softmax)


def test_crossbars_follow_the_channels() -> None:
    changed = with_fields(SPATTEN, {"hbm.channels": 2})
    assert changed.address_crossbar == spatten_eighth().address_crossbar
    assert changed.data_crossbar == spatten_eighth().data_crossbar


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "value_topk.paralelism",
            "'value_topk.paralelism' is not a field of Architecture; did you mean value_topk.parallelism",
        ),
        ("clock", "did you mean clock_ghz"),
        (
            "key_sram",
            "'key_sram' is a unit and no field; it has key_sram.rows, key_sram.width, key_sram.buffers",
        ),
        ("zebra", "known: name, clock_ghz, query_key.multipliers"),
    ],
)
def test_an_unknown_field_is_refused_with_its_neighbours(name: str, message: str) -> None:
    for wish in (
        lambda: with_fields(SPATTEN, {name: 1}),
        lambda: explore(WORK, SPATTEN, {name: [1]}),
        lambda: evaluate(WORK, SPATTEN, {name: 1}),
        lambda: read_setting(f"{name}=1", "set", fields_of(SPATTEN)),
    ):
        with pytest.raises(UserError) as caught:
            wish()
        assert message in str(caught.value)


def test_settings_are_read_by_the_type_of_their_field() -> None:
    known = fields_of(SPATTEN)
    assert read_setting("clock_ghz = 1, 0.5", "vary", known) == ("clock_ghz", [1, 0.5])
    assert read_setting("name=16", "set", known) == ("name", ["16"])
    for bad in ("clock_ghz", "clock_ghz=", "clock_ghz=1,,2"):
        with pytest.raises(UserError, match="set must be field=value"):
            read_setting(bad, "set", known)


def test_architectures_have_names() -> None:
    assert named("spatten") == SPATTEN
    assert built("spatten-1/8", {"clock_ghz": 2.0}, None).clock_ghz == 2.0
    long = Workload.from_counts(keys=[[3000]], heads=1)
    assert built("spatten", {}, long) == SPATTEN.grown_for(long)


# points ---------------------------------------------------------------------------------------------------------------


def test_a_point_tells_what_the_simulation_tells() -> None:
    point = evaluate(WORK, SPATTEN, {"value_topk.parallelism": 8}, Conditions(ideal_dram=True, overlap=False))
    changed = with_fields(SPATTEN, {"value_topk.parallelism": 8})
    run = simulate(WORK, changed, ideal_dram=True, overlap=False)
    energy = energy_of(run.activity, run.dram, changed, run.cycles)
    assert (point.cycles, point.seconds, point.flops, point.error) == (
        run.cycles,
        run.seconds,
        run.flops,
        None,
    )
    assert (point.joules, point.area_mm2) == (energy.total, area_of(changed).total)
    assert point.watts == pytest.approx(sum(energy.watts.values()))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"value_topk.parallelism": 3}, "must be a power of two; got 3"),
        ({"clock_ghz": 0.3}, "such that a transaction of 2 ns takes whole cycles"),
        ({"key_sram.rows": 128}, "key_fetch_num must be at most 128"),
        ({"value_topk.fifo_depth": 1}, "value_topk must be for at least 1024 scores"),
    ],
)
def test_a_combination_that_cannot_be_is_a_point_with_its_reason(
    values: dict[str, Any], message: str
) -> None:
    point = evaluate(WORK, SPATTEN, values)
    assert point.error is not None
    assert message in point.error
    assert [getattr(point, it) for it in (*OBJECTIVES, "flops")] == [None] * 6


def test_a_value_of_another_type_is_no_point() -> None:
    with pytest.raises(UserTypeError, match=r"hbm\.channels must be an int; got 1.5"):
        explore(WORK, SPATTEN, {"hbm.channels": [16, 1.5]})
    with pytest.raises(UserTypeError, match=r"hbm\.channels must be an int; got 'many'"):
        evaluate(WORK, SPATTEN, {"hbm.channels": "many"})


def test_the_grid_is_every_combination_in_order() -> None:
    points = grid({"hbm.channels": range(4, 9, 4), "clock_ghz": [1.0, 2.0]})
    assert [tuple(it.values()) for it in points] == [(4, 1.0), (4, 2.0), (8, 1.0), (8, 2.0)]


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ({}, "vary must be at least one field"),
        ({"clock_ghz": []}, "the values of clock_ghz must be at least one, each once"),
        ({"clock_ghz": [1, 1.0]}, "the values of clock_ghz must be at least one, each once"),
        ({"a": range(101), "b": range(100)}, "a sweep must be of at most 10,000 points; got 10100"),
    ],
)
def test_grids_that_are_none_are_refused(vary: dict[str, Any], message: str) -> None:
    assert MOST_POINTS == 10_000
    with pytest.raises(UserError, match=message):
        grid(vary)


VARY: dict[str, Sequence[Any]] = {"value_topk.parallelism": [4, 3, 16], "hbm.channels": [4, 16]}


def test_processes_change_nothing_and_the_order_is_that_of_the_grid(tmp_path: Path) -> None:
    alone = explore(WORK, SPATTEN, VARY)
    kept = tmp_path / "points.json"
    assert explore(WORK, SPATTEN, VARY, processes=2, kept_in=kept) == alone
    assert explore(WORK, SPATTEN, VARY, processes=2, kept_in=kept) == alone
    assert [it.values for it in alone] == [*grid(VARY)]
    assert [it.error is None for it in alone] == [True, True, False, False, True, True]
    fast, slow = alone[-1], alone[0]
    assert fast.cycles is not None
    assert slow.cycles is not None
    assert fast.cycles < slow.cycles
    with pytest.raises(UserError, match="processes must be at least 1; got 0"):
        explore(WORK, SPATTEN, VARY, processes=0)


def die(values: object) -> Point:
    os._exit(1)


def test_a_process_that_dies_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept = tmp_path / "points.json"
    explore(WORK, SPATTEN, {"hbm.channels": [4]}, kept_in=kept)
    monkeypatch.setattr(exploration, "_evaluate_in_worker", die)
    with pytest.raises(UserError, match="a process that simulated points has died"):
        explore(WORK, SPATTEN, {"hbm.channels": [4, 8, 16]}, processes=2, kept_in=kept)
    assert len(json.loads(kept.read_text())["points"]) == 1


def test_a_worker_answers_as_the_first_process_does() -> None:
    exploration._begin((WORK, SPATTEN, Conditions()))
    values = {"hbm.channels": 4}
    assert exploration._evaluate_in_worker(values) == evaluate(WORK, SPATTEN, values)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The points that were simulated; the fifth is interrupted."""
    simulated: list[dict[str, Any]] = []

    def counting(workload: Workload, architecture: Architecture, values: Any, how: Conditions) -> Point:
        simulated.append(values)
        if len(simulated) == 5:
            raise KeyboardInterrupt
        return evaluate(workload, architecture, values, how)

    monkeypatch.setattr(exploration, "evaluate", counting)
    return simulated


def test_an_interrupted_sweep_goes_on_where_it_was(tmp_path: Path, counted: list[dict[str, Any]]) -> None:
    kept = tmp_path / "points.json"
    with pytest.raises(KeyboardInterrupt):
        explore(WORK, SPATTEN, VARY, kept_in=kept)
    assert len(json.loads(kept.read_text())["points"]) == 4
    found = explore(WORK, SPATTEN, VARY, kept_in=kept)
    assert len(counted) == 5 + 2
    assert explore(WORK, SPATTEN, VARY, kept_in=kept) == found
    assert len(counted) == 7
    assert explore(WORK, SPATTEN, VARY) == found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workload": Workload.from_counts(keys=[[9]], heads=1)}, "holds points of another workload"),
        ({"architecture": spatten_eighth()}, "holds points of another architecture"),
        ({"conditions": Conditions(ideal_dram=True)}, "holds points of another conditions"),
    ],
)
def test_points_of_something_else_are_not_taken(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    vary = {"hbm.channels": [4]}
    usual = {"workload": WORK, "architecture": SPATTEN, "vary": vary, "kept_in": tmp_path / "points.json"}
    explore(**usual)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message):
        explore(**{**usual, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["[]", '{"points": 3}', "{"])
def test_a_file_of_something_else_is_refused(text: str, tmp_path: Path) -> None:
    kept = tmp_path / "points.json"
    kept.write_text(text)
    with pytest.raises(UserError, match=r"points\.json"):
        explore(WORK, SPATTEN, {"hbm.channels": [4]}, kept_in=kept)


def test_broken_points_are_refused(tmp_path: Path) -> None:
    kept = tmp_path / "points.json"
    explore(WORK, SPATTEN, {"hbm.channels": [4]}, kept_in=kept)
    kept.write_text(kept.read_text().replace('"cycles"', '"circles"'))
    with pytest.raises(UserError, match=r"must hold points; .*circles"):
        explore(WORK, SPATTEN, {"hbm.channels": [4]}, kept_in=kept)


# the front ------------------------------------------------------------------------------------------------------------

NUMBER = st.one_of(st.none(), st.integers(0, 6).map(float))


@given(
    st.lists(st.tuples(NUMBER, NUMBER, NUMBER), max_size=25),
    st.lists(st.sampled_from(["seconds", "joules", "area_mm2"]), min_size=1, max_size=3, unique=True),
)
def test_the_front_is_what_nothing_beats(numbers: list[tuple[float | None, ...]], of: list[str]) -> None:
    points = [Point(values={}, seconds=a, joules=b, area_mm2=c) for a, b, c in numbers]
    costs = [[getattr(point, name) for name in of] for point in points]

    def beats(one: list[Any], other: list[Any]) -> bool:
        pairs = [*zip(one, other, strict=True)]
        return None not in one and all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

    expected = [None not in cost and not any(beats(other, cost) for other in costs) for cost in costs]
    assert list(pareto(points, of)) == expected


def test_objectives_that_are_none_are_refused() -> None:
    with pytest.raises(UserError, match="'second' is not an objective; did you mean seconds"):
        pareto((), ("second",))
    with pytest.raises(UserError, match="of must be some of cycles, seconds, joules, watts, area_mm2"):
        pareto((), ())
