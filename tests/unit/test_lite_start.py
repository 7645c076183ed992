"""How lite residuals start: silent always, where the first step goes, and what measuring them does."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from multum.core import UserError
from multum.transfer import LiteResidual, adapt, apply_delta, make_stock, take_delta
from multum.transfer.lite_start import AT_A_TIME, STARTS, LiteStart, start_lite
from small_cnns import foreign_residual, small_mobile

PICTURES = torch.randn(AT_A_TIME + 3, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def lites_of(model: nn.Module) -> list[LiteResidual]:
    return [it for it in model.modules() if isinstance(it, LiteResidual)]


@pytest.mark.parametrize("start", STARTS)
def test_every_start_is_silent(start: LiteStart) -> None:
    model = small_mobile().double().eval()
    expected = model(x := PICTURES.double())
    adapt(model, "lite+bias", example=x, lite_start=start)
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize(
    ("start", "moving"),
    [
        ("scale", "1.weight"),
        ("mix", "0.weight"),
        ("measured+scale", "1.weight"),
        ("measured+mix", "0.weight"),
    ],
)
def test_at_first_only_what_was_0_moves(start: LiteStart, moving: str) -> None:
    model = small_mobile()
    adapt(model, "lite", example=PICTURES, lite_start=start)
    model(PICTURES).square().sum().backward()
    for lite in lites_of(model):
        moved = [
            name for name, it in lite.named_parameters() if it.grad is not None and it.grad.abs().sum() > 0
        ]
        assert moved == [f"mix.{moving}"]


def test_they_start_with_no_mixing_where_nothing_is_said_but_not_with_group_norms() -> None:
    plain, groups = small_mobile(), small_mobile()
    adapt(plain, "lite", example=PICTURES)
    adapt(groups, "lite", example=PICTURES, norms="group")
    for lite in lites_of(plain):
        assert (lite.mix[0].weight.abs().max(), lite.last_norm.weight.min()) == (0, 1)
    for lite in lites_of(groups):
        assert lite.mix[0].weight.abs().min() > 0
        assert lite.last_norm.weight.abs().max() == 0


@pytest.mark.parametrize("make", [small_mobile, foreign_residual])
def test_measured_norms_norm_what_goes_through_them(make: Any) -> None:
    model = make().eval()
    adapt(model, "lite", example=PICTURES, lite_start="measured+mix")
    make_stock(model)  # whose layers call their hooks
    seen: dict[nn.Module, torch.Tensor] = {}
    for lite in lites_of(model):
        lite.depth[0].register_forward_hook(lambda layer, _, found: seen.update({layer: found}))
    model(PICTURES)
    assert len(seen) == len(lites_of(model)) > 0
    for lite in lites_of(model):  # the slow way, of all pictures at once
        before = seen[lite.depth[0]].double()
        variance_C, mean_C = torch.var_mean(before, (0, 2, 3), correction=0)
        torch.testing.assert_close(lite.depth[1].running_mean.double(), mean_C, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(lite.depth[1].running_var.double(), variance_C, rtol=1e-4, atol=1e-6)


def test_a_delta_brings_measured_statistics_along() -> None:
    backbone = small_mobile().eval()
    model = copy.deepcopy(backbone)
    adapted = adapt(model, "lite+bias", example=PICTURES, num_classes=3, lite_start="measured+scale")
    for lite in lites_of(model):
        nn.init.ones_(lite.last_norm.weight)  # type: ignore[arg-type]
        assert (lite.depth[1].running_mean != 0).all()
    expected = model(PICTURES)
    delta = take_delta(model, adapted)
    assert apply_delta(backbone, delta) == adapted
    assert torch.equal(backbone(PICTURES), expected)
    for lite, other in zip(lites_of(model), lites_of(backbone), strict=True):
        assert torch.equal(lite.depth[1].running_var, other.depth[1].running_var)


def test_measuring_leaves_the_mode_and_the_generator_alone() -> None:
    model = small_mobile().train()
    adapt(model, "lite", example=PICTURES)
    before = torch.get_rng_state()
    start_lite(model, "measured+mix", PICTURES)
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lite_start": "mix", "norms": "group"}, "lite_start must be scale where norms are of groups"),
        ({"lite_start": "measured+scale", "norms": "group"}, "lite_start must be scale where norms"),
        (
            {"lite_start": "measured+mix", "example": torch.zeros(1, 3, 32, 32)},
            "pictures must be some of those to learn from",
        ),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        adapt(small_mobile(), "lite", **{"example": PICTURES, **options})
