"""Accuracy of transfer learning, mode by mode: near to ImageNet, far from it, and on photographs of clothes.

Every case is a mode on a problem: its learning rate is chosen on the validation part, and the test part is read at that
rate. Trainings are runs of `multum transfer train` below `runs/transfer_accuracy`; each goes on where it was
interrupted, and what is finished there is only read. The clothes take hours for every mode, so measure them one by one.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.registry import Case, Figure, Plot, Setting, Suite, Table
from benchmarks.schema import Check, Results
from benchmarks.transfer_growth import LEAN, MEASURED, grown_mb
from benchmarks.transfer_lora import learned_with_lora
from benchmarks.transfer_peers import converged_last, int8_accuracies
from benchmarks.transfer_peft import LORA, PEFT, RANK
from benchmarks.transfer_picture import draw_modes, modes_table
from benchmarks.transfer_trials import CALTECH, CLOTHING, DIGITS, Problem, learned, seeds_of, tried
from multum.transfer import Mode

QUICK_BATCH, QUICK_SIDE = 2, 64
MICRO_BATCHES = (4, 1)
"""Pictures that go through the network at a time in `lite+bias` with the very same gradients."""
CALTECH_MODES = ("last", "bias", "lite_bias", "full")
CLOTHING_MODES = ("last", "lite_bias", "full")


def _run_mode(problem: Problem, mode: Mode) -> Callable[[object, Setting], Mapping[str, float]]:
    learn = converged_last if mode == "last" else learned
    return lambda _, setting: tried(problem, mode, setting, learn)


def _check_parts(problem: Problem) -> Callable[[object], Check]:
    """No picture is in two parts of a draw."""

    def check(setting: object) -> Check:
        assert isinstance(setting, Setting)
        from multum.transfer.train_command import fresh_backbone
        from multum.transfer.train_data import load_data

        config = problem.wish("last", problem.rates["last"][0], problem.seeds[0], setting)
        split = load_data(config, config.side or 0, fresh_backbone(config).scaling).split
        parts = [set(split.train), set(split.validation), set(split.test)]
        sizes = [len(it) for it in parts]
        apart = len(set.union(*parts)) == sum(sizes) and all(sizes)
        return Check.holds(
            apart, f"{sizes[0]} pictures to learn from, {sizes[1]} to choose by, {sizes[2]} to test"
        )

    return check


def _run_int8(_: object, setting: Setting) -> Mapping[str, float]:
    """Means over the draws of both small problems, of `lite+bias` at the rate chosen in float."""
    readings: dict[str, float] = {}
    for problem in (DIGITS, CALTECH):
        floats = tried(problem, "lite+bias", setting)
        rate, seeds = floats["learning_rate"], seeds_of(problem, setting)
        found = [int8_accuracies(problem, "lite+bias", rate, seed, setting) for seed in seeds]
        for way in ("rounded", "trained"):
            readings |= {
                f"{problem.name}.{way}_of_draw_{seed}": it[way] for seed, it in zip(seeds, found, strict=True)
            }
            mean = sum(it[way] for it in found) / len(found)
            readings[f"{problem.name}.{way}_loss_points"] = floats["test"] - mean
    for way in ("rounded", "trained"):
        losses = [readings[f"{it.name}.{way}_loss_points"] for it in (DIGITS, CALTECH)]
        readings[f"{way}_loss_points"] = sum(losses) / len(losses)
    return readings


def _run_growth(problem: Problem) -> Callable[[object, Setting], Mapping[str, float]]:
    def run(_: object, setting: Setting) -> Mapping[str, float]:
        batch, side = problem.config.batch_size, problem.config.side
        assert side is not None, "the problems name one"
        if setting.quick:
            batch, side = QUICK_BATCH, QUICK_SIDE
        readings = {f"{name}_mb": grown_mb(name, batch=batch, side=side) for name in MEASURED}
        for micro in () if setting.quick else MICRO_BATCHES:
            readings[f"lite_bias_micro_{micro}_mb"] = grown_mb("lite_bias", batch=micro, side=side)
        return readings

    return run


def _memory_case(problem: Problem, name: str) -> Case:
    return Case(
        name=name,
        about=f"growth of a process in a step, {problem.config.side} px, 8 pictures, every mode and rivals",
        check=lambda _: Check.holds(True, "stock and lean layers are compared in transfer_memory"),
        run=_run_growth(problem),
    )


def _difference(problem: str, mode: str, other: str) -> Callable[[Results], float]:
    return lambda results: (
        results.number(f"{problem}_{mode}", "test") - results.number(f"{problem}_{other}", "test")
    )


def _case(problem: Problem, slug: str) -> Case:
    mode = LEAN[slug]
    return Case(
        name=f"{problem.name}_{slug}",
        about=f"EfficientNet-Lite0 at {problem.config.side} px, {problem.about}, {mode}; "
        f"{len(problem.seeds)} seeds",
        check=_check_parts(problem),
        run=_run_mode(problem, mode),
    )


_RATES = "each mode at the rate that is best on the validation part"
_SMALL_HOW = f"EfficientNet-Lite0 at 128 px, mean of 5 draws; {_RATES}"
_CLOTHING_HOW = f"EfficientNet-Lite0 at 192 px, the published test part, mean of 3 seeds; {_RATES}"
_LAST = "the last layer alone, trained to convergence on its features"


def _points(
    name: str, mode: str, other: str, peer: str, goal_min: float, how: str, problem: str = "clothing"
) -> Figure:
    return Figure(
        id=f"transfer.{name}",
        unit="points",
        goal_min=goal_min,
        peer=peer,
        how=how,
        value=_difference(problem, mode, other),
    )


SUITE = Suite(
    name="transfer_accuracy",
    about="Accuracy of transfer learning in every mode, near to ImageNet and far from it, with its memory",
    counts_only=True,
    peers=(PEFT,),
    cases=(
        *(_case(DIGITS, slug) for slug in LEAN),
        Case(
            name=f"{DIGITS.name}_{LORA}",
            about=f"EfficientNet-Lite0 at {DIGITS.config.side} px, {DIGITS.about}, peft's LoRA of rank {RANK} on "
            f"convolutions of single pixels; {len(DIGITS.seeds)} seeds",
            check=_check_parts(DIGITS),
            run=lambda _, setting: tried(DIGITS, "lite+bias", setting, learned_with_lora),
        ),
        _memory_case(DIGITS, "digits_memory"),
        *(_case(CALTECH, slug) for slug in CALTECH_MODES),
        Case(
            name="int8_backbone",
            about="lite+bias on both small problems, the frozen weights in int8 after the training and in it",
            check=_check_parts(CALTECH),
            run=_run_int8,
        ),
        _memory_case(CLOTHING, "clothing_memory"),
        *(_case(CLOTHING, slug) for slug in CLOTHING_MODES),
    ),
    tables=(Table(name="modes", render=modes_table),),
    plots=(Plot(path=Path("docs/images/transfer_modes.svg"), draw=draw_modes),),
    figures=(
        _points(
            "caltech24_lite_bias_minus_last_points", "lite_bias", "last", _LAST, 0, _SMALL_HOW, CALTECH.name
        ),
        _points("caltech24_bias_minus_last_points", "bias", "last", _LAST, 0, _SMALL_HOW, CALTECH.name),
        _points(
            "digits100_lite_bias_minus_last_points", "lite_bias", "last", _LAST, 8, _SMALL_HOW, DIGITS.name
        ),
        Figure(
            id="transfer.int8_backbone_loss_points",
            unit="points",
            goal_max=0.5,
            peer="the same training with float32 weights",
            how="the worse of rounding the frozen weights of the finished network and training with them rounded; "
            "lite+bias, mean of the draws of digits100 and caltech24",
            value=lambda results: max(
                results.number("int8_backbone", f"{way}_loss_points") for way in ("rounded", "trained")
            ),
        ),
        _points(
            "clothing_lite_bias_minus_full_points",
            "lite_bias",
            "full",
            "everything trained",
            -1,
            _CLOTHING_HOW,
        ),
        _points("clothing_lite_bias_minus_last_points", "lite_bias", "last", _LAST, 3, _CLOTHING_HOW),
        Figure(
            id="transfer.clothing_lite_bias_memory_vs_full",
            unit="",
            goal_max=0.1667,
            peer="everything trained, layers as torch has them",
            how="peak growth of a child process in forward and backward, 8 pictures of 192 px at once; gradients were "
            "there before",
            value=lambda results: (
                results.number("clothing_memory", "lite_bias_mb")
                / results.number("clothing_memory", "full_stock_mb")
            ),
        ),
    ),
)
