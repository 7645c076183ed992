"""The curve from no pruning to a schedule: what is measured on it, and how it is told and drawn."""

from dataclasses import replace

import pytest
from benchmarks.recovery_curve import WAY_PERCENTS, curve_table, draw_curve, milder_losses
from benchmarks.schema import CaseResult, Check, NoNumberError, Results

from multum.attention import TokenSchedule

SCHEDULE = TokenSchedule(keep_ratios=(1.0, 0.5, 0.5), score="value")


def curve() -> dict[str, float]:
    return milder_losses(
        SCHEDULE,
        0.9,
        pruned_only=lambda plan: 0.9 * plan.keep_ratios[1],
        tuned=lambda plan: 0.9,
        reduction=lambda plan: plan.token_reduction,
    )


def results(**readings: float) -> Results:
    case = CaseResult(name="stsb", about="", check=Check.holds(True, ""), readings=dict(readings))
    return Results(
        suite="recovery",
        about="",
        command="",
        device="cpu",
        num_threads=1,
        seed=0,
        provenance={},
        cases=(case,),
    )


def test_losses_are_measured_on_the_way_to_the_schedule() -> None:
    found = curve()
    assert found["curve.100_percent.token_reduction"] == pytest.approx(SCHEDULE.token_reduction)
    assert found["curve.50_percent.token_reduction"] == pytest.approx(3 / 2.5)
    assert [found[f"curve.{it}_percent.pruned_only_loss_points"] for it in WAY_PERCENTS] == pytest.approx(
        [100 * 0.9 * 0.5 * it / 100 for it in WAY_PERCENTS]
    )
    assert all(found[f"curve.{it}_percent.tuned_loss_points"] == 0 for it in WAY_PERCENTS)


def test_table_has_a_row_for_every_step_of_the_way() -> None:
    lines = curve_table(results(**curve())).splitlines()
    assert len(lines) == 2 + len(WAY_PERCENTS)
    assert lines[-1] == "| STS-B, Spearman | 1.50x | -45.0 | +0.0 |"


def test_picture_has_a_line_for_the_untuned_and_the_tuned_model() -> None:
    pytest.importorskip("matplotlib", reason="drawing needs the report extra")
    (axes,) = draw_curve(results(**curve())).axes
    labels = [line.get_label() for line in axes.get_lines() if not line.get_label().startswith("_")]
    assert labels == ["STS-B, Spearman, pruned only", "STS-B, Spearman, tuned"]


def test_results_without_a_curve_have_nothing_to_show() -> None:
    for shown in (curve_table, draw_curve):
        with pytest.raises(NoNumberError, match="no curve was measured"):
            shown(replace(results(), cases=()))
