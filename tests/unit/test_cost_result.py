"""Readings as data: comparing, serializing, printing."""

import io
import json
import math

import pytest
from rich.console import Console

from multum.core.errors import UserError
from multum.cost import (
    Cost,
    Latency,
    LayerCost,
    Moment,
    format_bytes,
    format_count,
    format_joules,
    format_ratio,
    format_seconds,
    rich_layers,
)
from multum.cost.table import LAYER_HEADER


def latency(seconds: float) -> Latency:
    return Latency(
        median_seconds=seconds,
        spread_seconds=seconds / 10,
        num_runs=9,
        num_warmup=2,
        num_threads=1,
        device="cpu",
    )


def reading(name: str = "dense", *, macs: int = 3_000_000, seconds: float = 0.5) -> Cost:
    return Cost(
        name=name,
        macs=macs,
        parameter_bytes=4_000,
        num_parameters=1_000,
        latency=latency(seconds),
        uncounted_ops=("mylib.product",),
        layers=(LayerCost(path="[bold]0", kind="Linear", macs=macs, num_parameters=1_000),),
        timeline=(Moment(step=0, phase="forward", layer="0", operation="aten.mm", live_bytes=17),),
    )


class TestComparing:
    def test_ratio_is_before_over_after(self) -> None:
        comparison = reading() / reading("pruned", macs=1_000_000, seconds=0.25)
        assert comparison.ratio("macs") == 3
        assert comparison.ratio("latency") == 2
        assert comparison.ratio("parameter_bytes") == 1

    def test_what_was_not_measured_has_no_ratio(self) -> None:
        comparison = reading() / Cost(name="other", macs=1)
        assert comparison.ratio("latency") is None
        assert comparison.ratio("cycles") is None
        assert ("Latency", "500 ms", format_ratio(None), format_ratio(None)) in comparison.rows()

    def test_rows_leave_out_what_nobody_has(self) -> None:
        labels = [row[0] for row in (reading() / reading()).rows()]
        assert labels == ["Parameters", "Parameter bytes", "MACs", "Latency"]

    def test_rows_are_told_in_human_units(self) -> None:
        rows = (reading() / reading("pruned", macs=1_000_000)).rows()
        assert ("MACs", "3.00 M", "1.00 M", format_ratio(3)) in rows

    def test_difference_tells_what_is_saved(self) -> None:
        difference = reading() - reading("pruned", macs=1_000_000, seconds=0.75)
        assert difference.amount("macs") == 2_000_000
        assert difference.amount("latency") == -0.25
        assert ("Latency", "500 ms", "750 ms", "-250 ms") in difference.rows()
        assert difference.amount("energy_joules") is None

    def test_an_unknown_quantity_is_refused_with_a_suggestion(self) -> None:
        with pytest.raises(UserError, match=r"compared quantity of a Cost; got 'mac'; did you mean macs\?"):
            (reading() / reading()).ratio("mac")

    def test_different_modes_are_not_compared(self) -> None:
        with pytest.raises(UserError, match="measure both in the same mode"):
            reading() / Cost(name="step", mode="training")

    def test_only_readings_can_be_compared(self) -> None:
        with pytest.raises(TypeError, match="after must be a Cost"):
            reading() / 2
        with pytest.raises(TypeError, match="after must be a Cost"):
            reading() - 2


class TestSerializing:
    def test_json_round_trip(self) -> None:
        before = reading()
        assert Cost.from_dict(json.loads(json.dumps(before.to_dict()))) == before

    def test_schema_is_written_and_demanded(self) -> None:
        data = reading().to_dict()
        assert data["schema"] == "multum.cost/1"
        data["schema"] = "multum.cost/0"
        with pytest.raises(UserError, match=r"schema must be 'multum.cost/1'; got 'multum.cost/0'"):
            Cost.from_dict(data)

    def test_unknown_key_is_refused(self) -> None:
        with pytest.raises(UserError, match="latencies"):
            Cost.from_dict(reading().to_dict() | {"latencies": 3})

    def test_unknown_key_in_a_layer_is_refused_with_its_place(self) -> None:
        data = reading().to_dict()
        data["layers"][0]["mac"] = 3
        with pytest.raises(UserError, match=r"layers.*mac"):
            Cost.from_dict(data)

    def test_a_value_of_the_wrong_type_is_refused(self) -> None:
        with pytest.raises(UserError, match="macs"):
            Cost.from_dict(reading().to_dict() | {"macs": "many"})


class TestPrinting:
    def test_plain_text_tells_what_was_measured(self) -> None:
        text = str(reading())
        assert "inference on cpu" in text
        assert "500 ms" in text
        assert "spread 50.0 ms, 9 runs, 1 thread" in text
        assert "mylib.product" in text
        assert "Cycles" not in text

    def test_rich_draws_readings_and_comparisons(self) -> None:
        console = Console(file=io.StringIO(), width=100)
        console.print(reading(), reading() / reading("pruned", macs=1_000_000), reading() - reading())
        drawn = console.file.getvalue()
        assert drawn.count("dense") >= 3
        assert "times less" in drawn
        assert "saved" in drawn

    @pytest.mark.parametrize(("width", "shown"), [(60, 5), (100, 6), (160, len(LAYER_HEADER))])
    def test_the_table_of_layers_fits_the_line(self, width: int, shown: int) -> None:
        table = rich_layers(reading(), width=width)
        assert len(table.columns) == shown
        console = Console(file=io.StringIO(), width=width)
        console.print(table)
        assert "[bold]0" in console.file.getvalue().replace("\n", "")  # names are never taken for markup


class TestUnits:
    @pytest.mark.parametrize(
        ("count", "text"),
        [(0, "0"), (7, "7"), (999, "999"), (1000, "1.00 k"), (999_499, "999 k"), (999_500, "1.00 M"), (2.5, "2.50"),
         (-1_234_567, "-1.23 M"), (0.25, "0.250"), (12_300_000_000_000, "12.3 T")],
    )  # fmt: skip
    def test_counts(self, count: float, text: str) -> None:
        assert format_count(count) == text

    @pytest.mark.parametrize(
        ("size", "text"), [(0, "0 B"), (1023, "1.02 kB"), (10**9, "1.00 GB"), (-512, "-512 B")]
    )
    def test_bytes_are_decimal(self, size: int, text: str) -> None:
        assert format_bytes(size) == text

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(1.0, "1.00 s"), (0.9999, "1.00 s"), (0.0123, "12.3 ms"), (4e-10, "0.400 ns"), (-2e-6, "-2.00 us")],
    )
    def test_seconds(self, seconds: float, text: str) -> None:
        assert format_seconds(seconds) == text

    def test_joules(self) -> None:
        assert format_joules(1.5) == "1.50 J"

    def test_a_ratio_without_an_answer_is_a_dash(self) -> None:
        assert format_ratio(math.nan) == format_ratio(None) == "\N{EN DASH}"
