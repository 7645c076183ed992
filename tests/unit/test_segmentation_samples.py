"""What a step sees depends on seed, epoch and scan alone; cuts, majorities and losses obey their definitions."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from multum.core import UserError
from multum.pointcloud.lidar import IGNORED, AugmentationConfig, Scan, ScanSet, synthetic_street
from multum.pointcloud.segmentation import (
    ScanReader,
    lovasz_softmax,
    majority_label,
    segmentation_loss,
    training_batch,
)
from multum.pointcloud.segmentation.data import load_data
from multum.pointcloud.segmentation.samples import cut, varied
from small_streets import SENSOR, street_config

MIXED = AugmentationConfig(laser_mix_probability=0.5, polar_mix_probability=0.5, polar_mix_classes=(0,))


def reader_of(*scans: Scan, classes: tuple[str, ...] = ("ground", "car")) -> ScanReader:
    by_name = {scan.name: scan for scan in scans}
    return ScanReader(ScanSet(names=tuple(by_name), load=by_name.__getitem__, classes=classes))


def scan_of(count: int, name: str = "some", *, spread: float = 10.0) -> Scan:
    generator = torch.Generator().manual_seed(count)
    return Scan(
        xyz_N3=spread * torch.rand(count, 3, generator=generator),
        intensity_N=torch.rand(count, generator=generator),
        label_N=torch.arange(count) % 2,
        name=name,
    )


@pytest.mark.parametrize("augmentation", [AugmentationConfig(), MIXED], ids=["plain", "mixed"])
def test_a_scan_is_varied_alike_whatever_shares_its_batch(augmentation: AugmentationConfig) -> None:
    config = street_config(augmentation=augmentation, max_voxels=300)
    reader = ScanReader(load_data(config).train)
    alone = training_batch(reader, [1], config, epoch=3)
    torch.rand(5)
    among = training_batch(ScanReader(load_data(config).train), [2, 1], config, epoch=3)
    mine = among.batch.points.batch_N == 1
    assert torch.equal(among.batch.feature_NC[mine], alone.batch.feature_NC)
    assert torch.equal(among.label_N[mine], alone.label_N)
    for other in (varied(reader, 1, config, 4), varied(reader, 1, replace(config, seed=1), 3)):
        assert not torch.equal(other.xyz_N3[:9], alone.batch.feature_NC[:9, :3])


def test_a_cut_keeps_whole_voxels_around_a_point_and_nothing_else() -> None:
    config = street_config(max_voxels=200, voxel_size=0.5)
    scan = synthetic_street(0, sensor=SENSOR)
    kept = cut(scan, config, torch.Generator().manual_seed(3))
    voxel = [tuple(row) for row in (scan.xyz_N3 / 0.5).floor().int().tolist()]
    left = [tuple(row) for row in (kept.xyz_N3 / 0.5).floor().int().tolist()]
    assert len(set(left)) == 200
    assert Counter(left) == {it: count for it, count in Counter(voxel).items() if it in set(left)}
    gone = set(voxel) - set(left)

    # there is a voxel from which all that stayed is at least as near as all that went
    def far(one: tuple[int, ...], other: tuple[int, ...]) -> int:
        return (one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2

    assert any(
        max(far(middle, it) for it in set(left)) <= min(far(middle, it) for it in gone)
        for middle in set(left)
    )
    assert cut(scan, replace(config, max_voxels=10**6), torch.Generator()) is scan


def test_a_voxel_has_the_class_of_most_of_its_points() -> None:
    generator = torch.Generator().manual_seed(0)
    label_N = torch.randint(-1, 3, (300,), generator=generator)
    row_N = torch.randint(0, 60, (300,), generator=generator)
    found_M = majority_label(label_N, row_N, 61, 3)
    assert found_M[60] == IGNORED
    for row in range(60):
        votes = Counter(label for label in label_N[row_N == row].tolist() if label != IGNORED)
        best = max(votes.values(), default=0)
        assert found_M[row] == min((label for label in votes if votes[label] == best), default=IGNORED)


def test_rounded_points_are_one_for_each_voxel() -> None:
    config = street_config(points="rounded")
    reader = ScanReader(load_data(config).train)
    seen = training_batch(reader, [0], config, epoch=0)
    voxel_M3 = seen.batch.points.finest.voxel_N4[:, 1:]
    assert torch.equal(seen.batch.points.position_N3, voxel_M3.float())
    scan = varied(reader, 0, config, 0)
    assert torch.equal((scan.xyz_N3 / config.voxel_size).round().int().unique(dim=0), voxel_M3)
    assert len(seen.label_N) == len(voxel_M3) < len(scan)


def test_the_lovasz_loss_is_the_mean_jaccard_loss_where_probabilities_are_0_or_1() -> None:
    generator = torch.Generator().manual_seed(1)
    truth_N = torch.randint(0, 3, (40,), generator=generator)
    told_N = torch.randint(0, 4, (40,), generator=generator)
    losses = []
    for label in range(3):
        there, said = truth_N == label, told_N == label
        losses.append(1 - float((there & said).sum()) / float((there | said).sum()))
    hard_NK = torch.nn.functional.one_hot(told_N, 4).float()
    assert float(lovasz_softmax(hard_NK, truth_N)) == pytest.approx(sum(losses) / 3)


def test_the_lovasz_loss_is_the_extension_by_its_formula() -> None:
    """Sum over the errors, sorted: error times what the Jaccard loss of the wrong ones grows by."""
    generator = torch.Generator().manual_seed(2)
    prob_NK = torch.rand(12, 2, generator=generator).softmax(dim=1)
    truth = torch.randint(0, 2, (12,), generator=generator)
    expected = 0.0
    for label in (0, 1):
        there = {place for place in range(12) if truth[place] == label}
        error = [float(1 - prob_NK[n, label] if n in there else prob_NK[n, label]) for n in range(12)]
        order = sorted(range(12), key=lambda n: -error[n])
        jaccard = [0.0]
        for count in range(1, 13):
            wrong = set(order[:count])
            jaccard.append(1 - len(there - wrong) / len(there | wrong))
        expected += sum(
            error[n] * (after - before) for n, (before, after) in zip(order, pairwise(jaccard), strict=True)
        )
    assert float(lovasz_softmax(prob_NK, truth)) == pytest.approx(expected / 2, rel=1e-5)


def test_ignored_points_move_nothing() -> None:
    score_NK = torch.randn(6, 3, requires_grad=True)
    label_N = torch.tensor([0, 1, IGNORED, 2, IGNORED, 1])
    loss = segmentation_loss(score_NK, label_N, lovasz=0.5, label_smoothing=0.1)
    known = label_N >= 0
    alone = segmentation_loss(score_NK.detach()[known], label_N[known], lovasz=0.5, label_smoothing=0.1)
    assert float(loss.detach()) == pytest.approx(float(alone))
    (gradient_NK,) = torch.autograd.grad(loss, score_NK)
    assert not gradient_NK[~known].any()
    nobody = segmentation_loss(score_NK, torch.full((6,), IGNORED), lovasz=0.5)
    assert float(nobody.detach()) == 0.0


def test_scans_that_would_spoil_a_training_are_named() -> None:
    good = scan_of(50)
    config = street_config(voxel_size=0.4)
    bad = replace(good, intensity_N=torch.full((50,), float("nan")), name="dark")
    with pytest.raises(UserError, match="intensities of scan 'dark' must be finite; got '50 that are not'"):
        training_batch(reader_of(good, bad), [0, 1], config, epoch=0)
    with pytest.raises(UserError, match="points of scan 'void' must be at least one; got 0"):
        training_batch(reader_of(good, replace(good.at(torch.arange(0)), name="void")), [0, 1], config, 0)
    with pytest.raises(UserError, match="labels of scan 'bare' must be there"):
        reader_of(replace(good, label_N=None, name="bare")).read(0)
    with pytest.raises(UserError, match=r"labels of scan 'other' must be in \[0, 2\)"):
        reader_of(replace(good, label_N=torch.full((50,), 7), name="other")).read(0)
    with pytest.raises(
        UserError, match=r"classes in the scans to learn from must be at least two; got \['car'\]"
    ):
        reader_of(replace(good, label_N=torch.ones(50).long())).check_labels()


def test_a_step_with_a_single_coarse_voxel_is_refused_before_a_norm_fails() -> None:
    tiny = scan_of(30, "pebble", spread=0.1)
    config = street_config(
        voxel_size=0.5, augmentation=AugmentationConfig(rotation_degrees=0.0, scale=(1.0, 1.0))
    )
    with pytest.raises(
        UserError, match=r"voxels of 8 m in the step's scans \(pebble\) must be at least 2; got 1"
    ):
        training_batch(reader_of(tiny), [0], config, epoch=0)
    both = reader_of(tiny, replace(tiny, name="twin"))
    assert len(training_batch(both, [0, 1], config, epoch=0).label_N) == 60


def test_scans_are_kept_as_far_as_the_bytes_go() -> None:
    reads: list[str] = []
    scan = scan_of(10)

    def load(name: str) -> Scan:
        reads.append(name)
        return replace(scan, name=name)

    scans = ScanSet(names=("a", "b"), load=load, classes=("x", "y"))
    size = 10 * (3 * 4 + 4 + 8)
    reader = ScanReader(scans, cache_bytes=size)
    for index in (0, 1, 0, 1):
        reader.read(index)
    assert reads == ["a", "b", "b"]
