"""Which setting of the Triton kernels is taken: measured once, kept in a file, else the first."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from multum.core.files import read_json
from multum.ops.sparse_convolution import settings
from multum.ops.sparse_convolution.settings import Problem, Setting, precision_of, settings_of
from multum.ops.sparse_convolution.tuning import SettingsFile, can_measure, choose_setting, file_of

PROBLEM = Problem(
    kind="forward",
    dtype=torch.float32,
    device=torch.device("cpu"),
    num_offsets=27,
    inputs=64,
    outputs=96,
    num_targets=1000,
    num_pairs=14_000,
    has_table=True,
)


class Clock:
    """Times a setting by a rule, and counts how often it is asked."""

    def __init__(self, rule: Callable[[Setting], float]) -> None:
        self.rule, self.asked = rule, 0

    def __call__(self, setting: Setting) -> float:
        self.asked += 1
        return self.rule(setting)


def prefers_scatter(setting: Setting) -> float:
    return 1.0 if setting.dataflow == "scatter" else 2.0


def test_fastest_setting_is_measured_once_and_kept(tmp_path: Path) -> None:
    clock, path = Clock(prefers_scatter), tmp_path / "deep" / "device.json"
    file = SettingsFile(path)
    chosen = file.choose(PROBLEM, clock)
    assert chosen.dataflow == "scatter"
    assert clock.asked == len(settings_of(PROBLEM))
    assert file.choose(replace(PROBLEM, num_targets=1010), clock) == chosen, "of the same kind"
    assert clock.asked == len(settings_of(PROBLEM))
    assert list(read_json(path)) == [PROBLEM.key]


def test_another_process_reads_what_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "device.json"
    chosen = SettingsFile(path).choose(PROBLEM, prefers_scatter)
    other = replace(PROBLEM, inputs=32)
    SettingsFile(path).choose(other, prefers_scatter)
    never = Clock(lambda setting: pytest.fail("it is known"))
    assert SettingsFile(path).choose(PROBLEM, never) == chosen
    assert sorted(read_json(path)) == sorted([PROBLEM.key, other.key])


@pytest.mark.parametrize("text", ["", "[]", "no JSON", '{"KEY": 3}', '{"KEY": {"dataflow": "magic"}}'])
def test_a_file_of_nonsense_is_written_anew(tmp_path: Path, text: str) -> None:
    path = tmp_path / "device.json"
    path.write_text(text.replace("KEY", PROBLEM.key))
    chosen = SettingsFile(path).choose(PROBLEM, prefers_scatter)
    assert chosen.dataflow == "scatter"
    assert json.loads(path.read_text())[PROBLEM.key]["dataflow"] == "scatter"


def test_a_cache_that_cannot_be_written_warns_and_measures_for_this_process(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of a folder")
    clock, file = Clock(prefers_scatter), SettingsFile(tmp_path / "file" / "device.json")
    with pytest.warns(RuntimeWarning, match="measured settings cannot be kept"):
        file.choose(PROBLEM, clock)
    file.choose(PROBLEM, clock)
    assert clock.asked == len(settings_of(PROBLEM))


def test_settings_that_do_not_fit_are_not_taken(tmp_path: Path) -> None:
    last = settings_of(PROBLEM)[-1]
    found = SettingsFile(tmp_path / "a").choose(PROBLEM, lambda it: 1.0 if it == last else torch.inf)
    assert found == last


def test_without_a_measurement_it_is_the_first_setting() -> None:
    never = Clock(lambda setting: pytest.fail("there is no device"))
    assert choose_setting(PROBLEM, never) == settings_of(PROBLEM)[0]
    assert settings_of(PROBLEM)[0].dataflow == "implicit"
    assert settings_of(replace(PROBLEM, has_table=False))[0].dataflow == "scatter"
    assert {it.dataflow for it in settings_of(replace(PROBLEM, kind="weight"))} == {"weight"}


def test_deterministic_algorithms_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    assert can_measure(torch.device("cuda"))
    torch.use_deterministic_algorithms(True)
    try:
        assert not can_measure(torch.device("cuda"))
    finally:
        torch.use_deterministic_algorithms(False)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert not can_measure(torch.device("cuda"))
    assert not can_measure(torch.device("cpu"))


def test_each_device_has_a_file_of_its_own_in_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MULTUM_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Some GPU/{device.index} (80 GB)")
    file_of.cache_clear()
    paths = [file_of(torch.device("cuda", index)).path for index in (0, 1)]
    file_of.cache_clear()
    assert [path.parent for path in paths] == [tmp_path / "settings"] * 2
    assert paths[0].name.startswith("sparse-convolution-Some-GPU-0-80-GB-triton-")
    assert paths[0] != paths[1]


def test_blocks_are_no_larger_than_the_channels_ask_for() -> None:
    for setting in settings_of(replace(PROBLEM, inputs=4, outputs=20)):
        assert (setting.block_inputs, setting.block_outputs) == (16, 32)


def test_the_key_holds_what_the_choice_depends_on() -> None:
    changes = [
        {"kind": "weight"},
        {"dtype": torch.float16},
        {"num_offsets": 8},
        {"inputs": 65},
        {"outputs": 95},
        {"num_targets": 4000, "num_pairs": 4 * 14_000},
        {"num_pairs": 5_000},
        {"has_table": False},
    ]
    keys = {replace(PROBLEM, **change).key for change in changes}  # type: ignore[arg-type]
    assert len(keys | {PROBLEM.key}) == 1 + len(changes)


def test_products_are_full_unless_torchs_own_need_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    assert precision_of(torch.float32) == "ieee"
    monkeypatch.setattr(settings, "_torch_takes_tf32", lambda: True)
    assert precision_of(torch.float32) == "tf32"
    assert precision_of(torch.bfloat16) == "ieee", "is the same there"
