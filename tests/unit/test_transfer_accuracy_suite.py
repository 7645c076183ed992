"""The suite of transfer's accuracy, rehearsed on a small network: what is chosen, what is kept, what is drawn."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmarks import transfer_growth, transfer_peers, transfer_trials
from benchmarks.measure import measure_case
from benchmarks.registry import Case, Setting
from benchmarks.schema import CaseResult, Check, NoNumberError, Results
from benchmarks.suites import transfer_accuracy
from benchmarks.transfer_folders import copied
from benchmarks.transfer_peft import LORA
from benchmarks.transfer_picture import draw_modes, modes_table
from benchmarks.transfer_trials import DIGITS, Problem, Trial, tried
from torch import nn

from multum.data import ImageSplit, read_image_folder
from multum.transfer import Mode, recompute_blocks
from multum.transfer import train_command as command
from small_cnns import small_mobile
from small_pictures import tiny, write_pictures

QUICK = Setting(quick=True)
CASES = {it.name for it in transfer_accuracy.SUITE.cases}


@pytest.fixture
def small_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small network in place of every backbone, trainings in a folder of their own."""
    pytest.importorskip("sklearn")
    for module in (command, transfer_peers):
        monkeypatch.setattr(module, "fresh_backbone", tiny)
    monkeypatch.setattr(transfer_trials, "TRIALS", tmp_path / "trials")
    few = replace(DIGITS.config, num_train=2, validation=0.02, test=0.02)
    problem = replace(DIGITS, config=few)
    for module in (transfer_trials, transfer_accuracy):
        monkeypatch.setattr(module, "DIGITS", problem)
    return tmp_path


def case_of(slug: str) -> Case:
    return transfer_accuracy._case(transfer_accuracy.DIGITS, slug)


@pytest.mark.parametrize("slug", ["last", "bias", "lite_bias"])
def test_a_rehearsal_trains_once(small_world: Path, slug: str) -> None:
    result = measure_case(case_of(slug), QUICK)
    assert result.check.passed, result.check.detail
    assert result.readings["test"] == result.readings["test_of_draw_0"]
    before = {path: path.stat().st_mtime_ns for path in small_world.rglob("*.safetensors")}
    assert before
    assert measure_case(case_of(slug), QUICK).readings == result.readings
    assert before == {path: path.stat().st_mtime_ns for path in small_world.rglob("*.safetensors")}


def test_the_rate_is_chosen_by_validation_and_the_test_part_told_at_it() -> None:
    seen: list[tuple[float, int]] = []

    def learn(_: Problem, mode: Mode, rate: float, seed: int, setting: Setting) -> Trial:
        seen.append((rate, seed))
        return Trial(validation=50.0 + (rate == 2.0) - seed, test=100 * rate + seed)

    rates: dict[Mode, tuple[float, ...]] = {"bias": (1.0, 2.0, 4.0)}
    problem = replace(DIGITS, rates=rates, seeds=(0, 1, 2), num_to_choose_by=2, num_finalists=1)
    found = tried(problem, "bias", Setting(), learn)
    assert found["learning_rate"] == 2.0
    assert (found["test"], found["test_spread"]) == (201.0, 1.0)
    assert found["validation_at_4"] == 49.5
    assert {seed for rate, seed in seen if rate != 2.0} == {0, 1}


def test_of_rates_that_are_as_good_the_lowest_is_chosen() -> None:
    problem = replace(DIGITS, rates={"bias": (1.0, 2.0)}, seeds=(0,), num_to_choose_by=1)
    found = tried(problem, "bias", Setting(), lambda *_: Trial(validation=50.0, test=50.0))
    assert found["learning_rate"] == 1.0


def test_the_best_rate_has_been_tried_between_its_neighbours() -> None:
    seen: set[float] = set()

    def learn(_: Problem, mode: Mode, rate: float, seed: int, setting: Setting) -> Trial:
        seen.add(rate)
        return Trial(validation=-abs(rate - 1e-4), test=1.0)

    problem = replace(DIGITS, rates={"bias": (1e-3, 3e-3, 1e-2)}, seeds=(0,), num_to_choose_by=1)
    assert tried(problem, "bias", Setting(), learn)["learning_rate"] == 1e-4
    assert seen == {3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2}
    seen.clear()
    tried(problem, "bias", QUICK, learn)
    assert seen == {1e-3}, "a rehearsal tries one"


def test_a_rate_that_goes_astray_in_a_later_draw_is_not_chosen() -> None:
    def learn(_: Problem, mode: Mode, rate: float, seed: int, setting: Setting) -> Trial:
        astray = rate > 1e-2 or (rate == 1e-2 and seed == 2)
        return Trial(validation=10.0 if astray else 80 + 100 * rate, test=100 * rate)

    rates: dict[Mode, tuple[float, ...]] = {"bias": (1e-3, 3e-3, 1e-2)}
    problem = replace(DIGITS, rates=rates, seeds=(0, 1, 2), num_to_choose_by=2, num_finalists=2)
    found = tried(problem, "bias", Setting(), learn)
    assert found["learning_rate"] == 3e-3
    assert found["test"] == pytest.approx(0.3)
    assert found["validation_at_0.01"] == pytest.approx((81 + 81 + 10) / 3)


def test_an_int8_backbone_is_tested_and_trained(small_world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_accuracy, "CALTECH", replace(transfer_accuracy.DIGITS, name="near"))
    found = transfer_accuracy._run_int8(None, QUICK)
    assert {"digits100.rounded_of_draw_0", "near.trained_of_draw_0"} <= found.keys()
    expected = (found["digits100.trained_loss_points"] + found["near.trained_loss_points"]) / 2
    assert found["trained_loss_points"] == pytest.approx(expected)
    assert transfer_accuracy._run_int8(None, QUICK) == found


def test_the_features_of_the_last_layer_are_those_of_the_network(small_world: Path) -> None:
    config = transfer_accuracy.DIGITS.wish("last", 1e-3, 0, QUICK)
    features = transfer_peers._features(config, small_world / "features.safetensors")
    backbone = tiny(config).eval()
    data = command.load_data(config, transfer_trials.QUICK_SIDE, backbone.scaling)
    picture = data.pictures.batches.load(data.split.test[:1], data.pictures.frame)
    torch.testing.assert_close(features.test_NF[:1], backbone.features(picture), rtol=1e-4, atol=1e-5)
    assert features.train_ENF.shape[:2] == (1, len(data.split.train))


def test_a_picture_is_in_one_part_and_a_folder_is_copied_once(tmp_path: Path) -> None:
    folder = read_image_folder(write_pictures(tmp_path / "pictures", per_class=3))
    split = ImageSplit(train=(0, 3, 6), validation=(1, 4, 7), test=(2, 5, 8))
    place = copied(folder, split, tmp_path / "parts")
    found = read_image_folder(place)
    assert (len(found), set(found.parts)) == (9, {"train", "validation", "test"})
    assert not (tmp_path / "parts.unfinished").exists()
    (place / "mark").touch()
    assert copied(folder, split, place) == place
    assert (place / "mark").exists()


def test_every_mode_and_rival_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_growth, "fresh_backbone", lambda _: small_mobile(2))
    ours = [name for name in transfer_growth.MEASURED if name != LORA]  # peft's needs its own environment
    steps = {name: transfer_growth._step(name, 1, 32) for name in ours}
    assert {name: step() > 0 for name, step in steps.items()} == dict.fromkeys(steps, True)


def test_recomputed_blocks_have_the_same_gradients() -> None:
    torch.manual_seed(0)
    plain = small_mobile(3).eval()
    pictures = torch.randn(2, 3, 32, 32)

    def gradients(model: nn.Module) -> list[torch.Tensor]:
        model.zero_grad()
        model(pictures).square().sum().backward()
        return [it.grad.clone() for it in model.parameters() if it.grad is not None]

    expected = gradients(plain)
    recompute_blocks(plain)
    for mine, theirs in zip(gradients(plain), expected, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_growth_is_measured_in_a_process_of_its_own() -> None:
    assert transfer_growth.grown_mb("last", batch=1, side=32) >= 0


def results(*modes: str) -> Results:
    memory = {f"{name}_mb": float(100 + place) for place, name in enumerate(transfer_growth.MEASURED)}

    def case(name: str, readings: dict[str, float]) -> CaseResult:
        return CaseResult(name=name, about="", check=Check.holds(True, ""), readings=dict(readings))

    accuracies = [
        case(f"{problem}_{mode}", {"test": 90.0, "test_spread": 0.5})
        for problem in ("digits100", "clothing")
        for mode in modes
    ]
    memories = [case(f"{it}_memory", memory) for it in ("digits", "clothing")]
    return Results(
        suite="transfer_accuracy",
        about="",
        command="",
        device="cpu",
        num_threads=1,
        seed=0,
        provenance={},
        cases=(*memories, *accuracies),
    )


def test_the_table_has_what_was_measured_and_the_rivals_of_full() -> None:
    lines = modes_table(results("last", "lite_bias", "full", LORA)).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| last",
        "| lite+bias",
        "| full",
        "| full, as torch has it",
        "| full, blocks computed again",
        "| LoRA by peft",
    ]


def test_the_picture_names_every_point() -> None:
    pytest.importorskip("matplotlib", reason="drawing needs the report extra")
    (axes,) = draw_modes(results("bias", "full")).axes
    told = {it.get_text() for it in axes.texts}
    assert told == {"bias", "full", "full, as torch has it", "full, blocks computed again"}


@pytest.mark.parametrize("shown", [modes_table, draw_modes])
def test_one_mode_alone_is_nothing_to_show(shown: Callable[[Results], object]) -> None:
    with pytest.raises(NoNumberError, match="fewer than two modes"):
        shown(results("bias"))


def test_figures_are_read_off_the_cases() -> None:
    figures = {it.id: it for it in transfer_accuracy.SUITE.figures}
    assert len(figures) == 7
    found = results("last", "lite_bias", "full")
    assert figures["transfer.clothing_lite_bias_minus_last_points"].value(found) == 0
    assert figures["transfer.clothing_lite_bias_memory_vs_full"].value(found) == pytest.approx(104 / 106)


def test_a_case_of_each_mode_can_be_measured_by_itself() -> None:
    assert {f"digits100_{slug}" for slug in (*transfer_growth.LEAN, LORA)} <= CASES
    assert {"clothing_memory", "digits_memory", "int8_backbone", "clothing_last", "caltech24_full"} <= CASES
