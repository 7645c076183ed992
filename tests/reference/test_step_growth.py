"""What a step is predicted to take is what a process grows by; little memory is really little."""

import sys
from dataclasses import replace

import pytest

from multum.core import UserError
from multum.transfer import TransferConfig
from multum.transfer.step_growth import step_growth, training_step
from multum.transfer.step_memory import stock_config

CONFIG = TransferConfig(data="digits", side=64, batch_size=8)

ON_LINUX = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="/proc tells how far a process grows"
)


@ON_LINUX
def test_a_process_grows_as_the_ruler_predicts_and_less_than_with_stock_layers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # with AVX-512 oneDNN's own copies make stock layers grow by 88 MB, with AVX2 by 64; 60 are theirs
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    found = {}
    for name, config in (("ours", CONFIG), ("stock", stock_config(CONFIG))):
        cost = training_step(config, 10, is_stock=name == "stock").cost(name)
        grown = step_growth(config, 10, is_stock=name == "stock")
        assert grown is not None
        assert grown == pytest.approx(cost.peak_live_bytes - cost.resident_bytes, rel=0.35)
        found[name] = grown
    assert found["ours"] < 0.4 * found["stock"]


def test_a_step_is_as_large_as_what_goes_through_at_a_time() -> None:
    step = training_step(replace(CONFIG, micro_batch=2, mode="bias", side=32), 7)
    assert (tuple(step.pictures_B3SS.shape), tuple(step.labels_B.shape)) == ((2, 3, 32, 32), (2,))
    before = step.model.get_submodule("classifier").bias.detach().clone()  # type: ignore[operator, union-attr]
    step.take()
    assert not before.equal(step.model.get_submodule("classifier").bias)  # type: ignore[arg-type]


def test_a_fused_step_is_refused_and_a_process_that_fails_is_told() -> None:
    with pytest.raises(UserError, match="fuse_step must be False where a step is measured"):
        training_step(replace(CONFIG, fuse_step=True), 10)
    with pytest.raises(UserError, match=r"must end well; it ended with .*num_classes must be at least 2"):
        step_growth(replace(CONFIG, side=32), 1)
