"""Sparse U-Nets against what is published of them: parameters, multiply-accumulates; and counted against computed."""

import functools

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from multum.core import UserError
from multum.pointcloud.quantize import quantize
from multum.pointcloud.unet import SparseUNet
from multum.pointcloud.unet_config import BlockConfig, StageConfig, UNetConfig, scaled_unet
from multum.pointcloud.unet_macs import PyramidSizes, unet_macs

ONE_SCAN = PyramidSizes(
    num_voxels=(91852.0, 60236.0, 31883.0, 14454.0, 5908.0),
    num_pairs=(345532.0, 365218.0, 238211.0, 122064.0, 54656.0),
)
"""Of scan 00/000000 of SemanticKITTI, 0.05 m."""
PUBLISHED = {
    (0.5, False): (5.44, 28.9),
    (0.64, False): (8.77, 46.6),
    (1.0, False): (21.72, 115.5),
    (0.5, True): (5.45, 30.2),
    (0.64, True): (8.79, 48.5),
    (1.0, True): (21.78, 120.4),
}
"""Millions of parameters, and billions of multiply-accumulates on that scan."""


def two_scans() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    scans = [8 * torch.rand(count, 3, generator=generator) for count in (900, 500)]
    for xyz_N3 in scans:
        xyz_N3[:, 2] = torch.sin(xyz_N3[:, 0])
    return scans


@pytest.mark.parametrize(("channel_ratio", "point_branch"), PUBLISHED)
def test_parameters_and_products_are_the_published_ones(channel_ratio: float, point_branch: bool) -> None:
    config = scaled_unet(channel_ratio, point_branch=point_branch)
    millions, billions = PUBLISHED[channel_ratio, point_branch]
    with torch.device("meta"):
        net = SparseUNet(config)
    assert round(sum(it.numel() for it in net.parameters()) / 1e6, 2) == millions
    assert unet_macs(config, ONE_SCAN) / 1e9 == pytest.approx(billions, rel=0.005)


@pytest.mark.parametrize("point_branch", [False, True])
def test_what_is_counted_is_what_is_computed(point_branch: bool) -> None:
    config = scaled_unet(0.25, point_branch=point_branch, down_blocks=(2, 1, 1, 3), up_blocks=(1, 2, 1, 1))
    net = SparseUNet(config).eval()
    xyz = two_scans()
    batch = quantize(xyz, [torch.cat([it, it[:, :1]], dim=1) for it in xyz], 0.2)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        score_NK = net(batch)
    assert score_NK.shape == (1400, 19)
    sizes = PyramidSizes.of(batch.points.finest, batch.points.pyramid)
    assert counter.get_total_flops() / 2 == unet_macs(config, sizes, num_points=float(batch.num_points))


def test_a_scan_is_judged_alike_alone_and_in_company() -> None:
    net = SparseUNet(scaled_unet(0.25, point_branch=True)).eval()
    xyz = two_scans()
    features = [torch.cat([it, it[:, :1]], dim=1) for it in xyz]
    with torch.no_grad():
        together = net(quantize(xyz, features, 0.2)).split([900, 500])
        for scan, feature, score_NK in zip(xyz, features, together, strict=True):
            torch.testing.assert_close(net(quantize([scan], [feature], 0.2)), score_NK, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("point_branch", [False, True])
def test_norms_that_are_folded_in_give_what_separate_ones_give(point_branch: bool) -> None:
    net = SparseUNet(scaled_unet(0.25, point_branch=point_branch)).double()
    xyz = [it.double() for it in two_scans()]
    batch = quantize(xyz, [torch.cat([it, it[:, :1]], dim=1) for it in xyz], 0.2)
    for _ in range(3):
        net(batch)  # statistics that are not those of the start
    norms = [it for it in net.modules() if isinstance(it, torch.nn.BatchNorm1d)]
    folded = net.eval()(batch)
    for it in norms:  # told to use the statistics that it has, in the way of training
        it.forward = functools.partial(fixed_norm, it)  # type: ignore[method-assign]
        it.training = True
    torch.testing.assert_close(net(batch), folded, rtol=1e-9, atol=1e-9)


def fixed_norm(norm: torch.nn.BatchNorm1d, x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.batch_norm(
        x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
    )


def test_every_parameter_learns() -> None:
    net = SparseUNet(scaled_unet(0.25, point_branch=True))
    xyz = two_scans()
    batch = quantize(xyz, [torch.cat([it, it[:, :1]], dim=1) for it in xyz], 0.2)
    net(batch).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name


def test_wrong_networks_are_named() -> None:
    stage = StageConfig(transition=4, blocks=(BlockConfig(inner=4, outer=4),))
    with pytest.raises(UserError, match="four stages"):
        UNetConfig(stem=4, down=(stage,), up=(stage,) * 4)
    with pytest.raises(UserError, match="at least 1"):
        scaled_unet(0.01, point_branch=True)
    with pytest.raises(UserError, match="of 4 features"):
        SparseUNet(scaled_unet(0.25, point_branch=False))(
            quantize([torch.rand(5, 3)], [torch.rand(5, 3)], 0.1)
        )
