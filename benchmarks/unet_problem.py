"""Whole sparse U-Nets on a scan of PandaSet: what is timed, ours.

Everything is in the time: points become voxels, kernel maps are found, all points get their numbers.

Shape legend: N points, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.places import data_folder
from multum.pointcloud.lidar import PANDASET_COARSE, Scan, read_pandaset, synthetic_street
from multum.pointcloud.quantize import PointBatch, quantize
from multum.pointcloud.unet import SparseUNet
from multum.pointcloud.unet_config import UNetConfig, scaled_unet

NUM_CLASSES = len(PANDASET_COARSE)


@dataclass(frozen=True, kw_only=True)
class UNetProblem:
    """A network on a scan."""

    point_branch: bool
    """SPVCNN with, MinkUNet without."""
    trains: bool = False
    """Whether a step of training is timed instead of inference."""
    channel_ratio: float = 0.5
    """Of all widths."""
    voxel_size: float = 0.05
    """Metres."""
    is_small: bool = False
    """Whether a synthetic scan of few points is taken: a rehearsal."""

    @property
    def config(self) -> UNetConfig:
        """What the network is made of."""
        ratio = 0.25 if self.is_small else self.channel_ratio
        found = scaled_unet(ratio, point_branch=self.point_branch, num_classes=NUM_CLASSES)
        return replace(found, dropout=0.0)  # it would drop other rows in another order of voxels

    def scan(self) -> Scan:
        """The first frame, both sensors, about 166,000 points."""
        if self.is_small:
            found = synthetic_street(0)
            return found.at(torch.arange(0, len(found), 20))
        return read_pandaset(data_folder("pandaset_seq002"), coarse=True).read(0)

    def batch(self, scan: Scan) -> PointBatch:
        """Its points in voxels."""
        feature_NC = torch.cat([scan.xyz_N3, scan.intensity_N[:, None]], dim=1)
        return quantize([scan.xyz_N3], [feature_NC], self.voxel_size)

    def network(self) -> SparseUNet:
        """Ours, seeded; for inference with the statistics that it starts with."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return SparseUNet(self.config).train(self.trains)


def ours(problem: UNetProblem) -> Callable[[], Tensor]:
    """From points to numbers; and the gradients of a step where it trains."""
    net, scan = problem.network(), problem.scan()
    return step_of(problem, scan, lambda: net(problem.batch(scan)), net)


def step_of(
    problem: UNetProblem, scan: Scan, forward: Callable[[], Tensor], net: torch.nn.Module
) -> Callable[[], Tensor]:
    """What is timed of a network: forward without gradients, or loss and gradients, which are forgotten before."""

    def train() -> Tensor:
        net.zero_grad(set_to_none=True)
        score_NK = forward()
        functional.cross_entropy(score_NK, _labels(scan), ignore_index=-1).backward()
        return score_NK

    return train if problem.trains else torch.no_grad()(forward)


def _labels(scan: Scan) -> Tensor:
    assert scan.label_N is not None, "both kinds of scan have labels"
    return scan.label_N % NUM_CLASSES
