"""Which torch a machine gets: never gigabytes of CUDA libraries without a GPU, never a wait without end."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from setup_scripts import REPOSITORY, setup_pip, setup_torch

VERSION = "2.13.0"
MARKED = f"Available versions: 2.14.0, {VERSION}+cpu, {VERSION}, 2.12.0"
UNMARKED = f"Available versions: 2.14.0, {VERSION}, 2.12.0"
NOTHING = "ERROR: No matching distribution found for torch"


def report(*names: str) -> str:
    """An installation report of pip with these packages, as `--report` writes it."""
    return json.dumps({"install": [{"metadata": {"name": name, "version": VERSION}} for name in names]})


class FakePip:
    """Answers the probes of the set-up and remembers them."""

    def __init__(self, *, default: str, cpu_index: str = NOTHING, would_install: str | None = None) -> None:
        self.default, self.cpu_index, self.would_install = default, cpu_index, would_install
        self.commands: list[Sequence[str]] = []
        self.limits: list[setup_pip.Limits] = []

    def __call__(self, command: Sequence[str], limits: setup_pip.Limits) -> setup_pip.Finished:
        self.commands.append(command)
        self.limits.append(limits)
        if "versions" in command:
            output = self.cpu_index if setup_torch.CPU_INDEX in command else self.default
            return setup_pip.Finished(code=0 if "Available" in output else 1, output=output)
        if self.would_install is None:
            return setup_pip.Finished(code=1, output="stopped")
        Path(command[command.index("--report") + 1]).write_text(self.would_install)
        return setup_pip.Finished(code=0, output="")


def choose(
    pip: FakePip, *, wish: str = "auto", system: str = "Linux", has_gpu: bool = False
) -> setup_torch.TorchSource:
    return setup_torch.choose_torch(
        VERSION,
        wish,
        system,
        has_gpu=has_gpu,
        python=Path("python"),
        constraints=Path("constraints.txt"),
        runner=pip,
    )


def test_an_index_that_lists_a_cpu_build_is_taken_as_it_is() -> None:
    pip = FakePip(default=MARKED)
    source = choose(pip)
    assert (source.requirement, source.arguments) == ("torch==2.13.0+cpu", ())
    assert len(pip.commands) == 1


def test_the_cpu_index_is_asked_where_the_default_has_only_unmarked_builds() -> None:
    source = choose(FakePip(default=UNMARKED, cpu_index=MARKED))
    assert source.requirement == "torch==2.13.0+cpu"
    assert source.arguments[:2] == ("--index-url", setup_torch.CPU_INDEX)
    assert "--no-deps" in source.arguments  # its dependencies come from the default index, pinned


def test_an_unmarked_build_that_asks_for_no_cuda_is_taken_when_the_cpu_index_is_out_of_reach() -> None:
    source = choose(FakePip(default=UNMARKED, would_install=report("torch", "sympy")))
    assert (source.requirement, source.arguments) == ("torch==2.13.0", ())


@pytest.mark.parametrize("would_install", [report("torch", "nvidia-cublas", "triton"), None])
def test_no_cpu_build_within_reach_ends_in_a_sentence_with_both_ways_out(would_install: str | None) -> None:
    with pytest.raises(setup_pip.SetupError, match=r"no CPU build of torch 2\.13\.0") as caught:
        choose(FakePip(default=UNMARKED, would_install=would_install))
    assert "MULTUM_TORCH=cuda" in str(caught.value)
    assert "MULTUM_TORCH=<URL" in str(caught.value)


def test_every_probe_is_limited_in_time_and_the_dry_run_in_bytes() -> None:
    pip = FakePip(default=UNMARKED, would_install=report("torch"))
    choose(pip)
    assert len(pip.limits) == 3
    assert all(limits.seconds is not None and limits.seconds <= 60 for limits in pip.limits)
    assert pip.limits[-1].file_bytes is not None
    beyond = pip.commands[1]
    assert beyond[beyond.index("--timeout") + 1] == "5"
    assert beyond[beyond.index("--retries") + 1] == "0"


@pytest.mark.parametrize(
    ("wish", "system", "has_gpu"),
    [("auto", "Linux", True), ("cuda", "Linux", False), ("auto", "Darwin", False), ("cpu", "Darwin", False)],
)
def test_a_gpu_a_wish_for_cuda_and_a_mac_take_the_default_index_without_a_probe(
    wish: str, system: str, has_gpu: bool
) -> None:
    pip = FakePip(default=UNMARKED)
    assert choose(pip, wish=wish, system=system, has_gpu=has_gpu).requirement == "torch==2.13.0"
    assert pip.commands == []


def test_a_wish_for_cpu_holds_on_a_machine_with_a_gpu() -> None:
    assert choose(FakePip(default=MARKED), wish="cpu", has_gpu=True).requirement == "torch==2.13.0+cpu"


def test_an_index_that_the_user_names_is_not_second_guessed() -> None:
    pip = FakePip(default=UNMARKED)
    source = choose(pip, wish="https://wheels.example/simple")
    assert source.arguments == ("--index-url", "https://wheels.example/simple", "--no-deps")
    assert pip.commands == []


@pytest.mark.parametrize("value", ["gpu", "cu130", "yes"])
def test_an_unknown_wish_is_refused(value: str) -> None:
    with pytest.raises(setup_pip.SetupError, match="MULTUM_TORCH must be cpu, cuda or the URL"):
        setup_torch.read_wish(value)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("torch", "filelock", "sympy"), False),
        (("torch", "nvidia-nccl-cu13"), True),
        (("torch", "cuda-bindings"), True),
        (("torch", "triton"), True),
        (("torch", "nvidia_cublas"), True),
    ],
)
def test_gpu_packages_are_seen_in_a_report(names: tuple[str, ...], expected: bool) -> None:
    assert setup_torch.brings_cuda(report(*names)) is expected


def test_a_torch_marked_for_cuda_is_seen_in_a_report() -> None:
    marked = json.dumps({"install": [{"metadata": {"name": "torch", "version": "2.13.0+cu130"}}]})
    assert setup_torch.brings_cuda(marked)


def test_a_version_must_be_listed_exactly() -> None:
    assert not setup_torch.lists_version("Available versions: 12.13.0+cpu, 2.13.0+cpu2", "2.13.0+cpu")


def test_the_pinned_torch_has_no_local_mark() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    assert setup_torch.pinned_version(lines, "torch").replace(".", "").isdigit()
    with pytest.raises(setup_pip.SetupError, match="must pin nothing-here"):
        setup_torch.pinned_version(lines, "nothing-here")
