"""Running means come to the same in any order and any grouping, and know nothing that all features at once do not."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from multum.core import UserError
from multum.transfer.streaming_classifier import FeatureStatistics, linear_discriminant

NUM_FEATURES = 5
NAMES = ("ant", "bee", "cow")


@st.composite
def streams(draw: st.DrawFn) -> tuple[torch.Tensor, list[str]]:
    """Features of pictures, each class about a place of its own, and the names of their classes."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=30))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    scale = 10.0 ** draw(st.integers(-3, 3))
    feature_ND = torch.randn(len(names), NUM_FEATURES, generator=generator, dtype=torch.float64)
    place_N1 = torch.tensor([[10.0 * NAMES.index(name)] for name in names], dtype=torch.float64)
    return scale * (feature_ND + place_N1), names


def all_at_once(feature_ND: torch.Tensor, names: list[str]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The obvious way, by NumPy: means of classes, and products of what is left."""
    features, labels = feature_ND.numpy(), np.array(names)
    means = {name: features[labels == name].mean(axis=0) for name in set(names)}
    rest = features - np.stack([means[name] for name in names])
    return means, sum(np.outer(it, it) for it in rest)


def assert_same(found: FeatureStatistics, feature_ND: torch.Tensor, names: list[str]) -> None:
    means, scatter = all_at_once(feature_ND, names)
    size = float(feature_ND.abs().max())
    assert found.counts == {name: names.count(name) for name in found.counts}
    assert found.num_pictures == len(names)
    assert found.means.keys() == means.keys()
    for name, mean in means.items():
        np.testing.assert_allclose(found.means[name].numpy(), mean, rtol=0, atol=1e-13 * size)
    np.testing.assert_allclose(found.scatter_DD.numpy(), scatter, rtol=0, atol=1e-12 * size**2 * len(names))


@given(streams(), st.randoms(use_true_random=False), st.lists(st.integers(1, 7), min_size=30, max_size=30))
def test_any_order_and_any_grouping_is_all_at_once(
    stream: tuple[torch.Tensor, list[str]], random, sizes: list[int]
) -> None:
    feature_ND, names = stream
    order = list(range(len(names)))
    random.shuffle(order)
    statistics = FeatureStatistics(NUM_FEATURES)
    while order:
        size = sizes.pop()
        group, order = order[:size], order[size:]
        statistics.add(feature_ND[group], [names[row] for row in group])
    assert_same(statistics, feature_ND, names)


@given(streams(), st.integers(0, 30), st.booleans())
def test_statistics_of_two_streams_merge_to_those_of_both(
    stream: tuple[torch.Tensor, list[str]], cut: int, swapped: bool
) -> None:
    feature_ND, names = stream
    parts = [FeatureStatistics(NUM_FEATURES), FeatureStatistics(NUM_FEATURES)]
    parts[0].add(feature_ND[:cut], names[:cut])
    parts[1].add(feature_ND[cut:], names[cut:])
    first, second = reversed(parts) if swapped else parts
    first.merge(second)
    assert_same(first, feature_ND, names)


@given(streams())
def test_a_new_class_leaves_the_old_means_as_they_are(stream: tuple[torch.Tensor, list[str]]) -> None:
    feature_ND, names = stream
    statistics = FeatureStatistics(NUM_FEATURES)
    statistics.add(feature_ND, names)
    before = dict(statistics.means)
    statistics.add(feature_ND[:3] + 1, ["new"] * len(feature_ND[:3]))
    assert all(torch.equal(statistics.means[name], it) for name, it in before.items())


def by_the_formula(feature_D: torch.Tensor, mean_KD: torch.Tensor, cov_DD: torch.Tensor, e: float) -> int:
    """The paper's rule, written out, for one picture."""
    precision_DD = torch.linalg.inv((1 - e) * cov_DD + e * torch.eye(len(cov_DD), dtype=torch.float64))
    scores = [float(feature_D @ precision_DD @ m - m @ precision_DD @ m / 2) for m in mean_KD]
    return scores.index(max(scores))


@given(st.integers(0, 2**32), st.sampled_from([1e-4, 0.1, 1.0]))
def test_the_layer_decides_as_the_formula(seed: int, shrinkage: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    mean_KD = torch.randn(4, NUM_FEATURES, generator=generator, dtype=torch.float64)
    root_DD = torch.randn(NUM_FEATURES, NUM_FEATURES, generator=generator, dtype=torch.float64)
    feature_ND = torch.randn(8, NUM_FEATURES, generator=generator, dtype=torch.float64)
    weight_KD, bias_K = linear_discriminant(mean_KD, root_DD @ root_DD.T, shrinkage)
    for feature_D in feature_ND:
        score_K = weight_KD @ feature_D + bias_K
        best = score_K.topk(2).values
        if best[0] - best[1] > 1e-6 * score_K.abs().max():
            assert int(score_K.argmax()) == by_the_formula(feature_D, mean_KD, root_DD @ root_DD.T, shrinkage)


def test_with_all_shrunk_the_nearest_mean_decides() -> None:
    statistics = FeatureStatistics(2)
    statistics.add(torch.tensor([[0.0, 0.0], [4.0, 0.0], [1.9, 90.0]]), ["left", "right", "left"])
    layer = statistics.classifier(["left", "right"], shrinkage=1.0)
    given = torch.tensor([[3.0, 1.0], [0.0, 30.0]])
    nearest = [
        min(("left", "right"), key=lambda it: float((statistics.means[it] - row).norm())) for row in given
    ]
    assert [("left", "right")[place] for place in layer(given).argmax(dim=1).tolist()] == nearest
    assert not layer.weight.requires_grad


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (lambda it: it.add(torch.zeros(2, 3), ["ant"] * 2), r"features must be of shape \(2, 5\)"),
        (lambda it: it.add(torch.zeros(2, 5), ["ant"]), r"features must be of shape \(1, 5\)"),
        (lambda it: it.add(torch.full((1, 5), torch.nan), ["ant"]), "features must be finite"),
        (lambda it: it.merge(FeatureStatistics(4)), "statistics must be of 5 features; got 4"),
        (lambda it: it.classifier(["ant", "cow"]), r"two or more of those that were seen \(ant, bee\)"),
        (lambda it: it.classifier(["ant"]), "classes must be two or more"),
        (lambda it: it.classifier(["ant", "ant"]), "each once"),
        (lambda it: it.classifier(["ant", "bee"], shrinkage=0.0), r"shrinkage must be in \(0, 1\]"),
        (lambda it: FeatureStatistics(0), "num_features must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused(wish: Callable[[FeatureStatistics], object], message: str) -> None:
    statistics = FeatureStatistics(NUM_FEATURES)
    statistics.add(torch.eye(NUM_FEATURES), ["ant", "ant", "bee", "bee", "bee"])
    before = statistics.scatter_DD.clone()
    with pytest.raises(UserError, match=message):
        wish(statistics)
    assert torch.equal(statistics.scatter_DD, before)
    assert statistics.counts == {"ant": 2, "bee": 3}
