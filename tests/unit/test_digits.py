"""scikit-learn's digits as pictures, and few-shot draws of them."""

import sys
from collections import Counter

import pytest
import torch

from multum.core import MissingExtraError, UserError
from multum.data import DIGIT_CLASSES, read_digits


@pytest.fixture
def needs_sklearn() -> None:
    pytest.importorskip("sklearn", reason='scikit-learn is not installed; pip install "multum[vision]"')


@pytest.mark.usefixtures("needs_sklearn")
def test_digits_are_three_equal_colours_from_black_to_white() -> None:
    digits = read_digits(8)
    assert digits.pictures_N3SS.shape == (1797, 3, 8, 8)
    assert digits.pictures_N3SS.dtype == torch.uint8
    assert (digits.pictures_N3SS.min(), digits.pictures_N3SS.max()) == (0, 255)
    assert torch.equal(digits.pictures_N3SS[:, 0], digits.pictures_N3SS[:, 2])
    count = Counter(digits.labels)
    assert sorted(count) == list(range(len(DIGIT_CLASSES)))
    assert min(count.values()) >= 170


@pytest.mark.usefixtures("needs_sklearn")
def test_enlarged_digits_average_back_to_the_small_ones() -> None:
    small, large = read_digits(8).pictures_N3SS, read_digits(32).pictures_N3SS
    assert large.shape == (1797, 3, 32, 32)
    pooled = torch.nn.functional.avg_pool2d(large.float(), 4)
    assert (pooled - small).abs().mean() < 20  # bilinear enlarging blurs a little
    correlation = torch.corrcoef(torch.stack([pooled.flatten(), small.float().flatten()]))[0, 1]
    assert correlation > 0.96


@pytest.mark.usefixtures("needs_sklearn")
def test_a_few_of_each_digit_are_learned_from_and_the_rest_is_tested() -> None:
    digits = read_digits(8)
    split = digits.split(10, num_validation=5, seed=0)
    for part, number in ((split.train, 10), (split.validation, 5)):
        assert set(Counter(digits.labels[index] for index in part).values()) == {number}
    assert sorted((*split.train, *split.validation, *split.test)) == list(range(1797))
    assert split == digits.split(10, num_validation=5, seed=0) != digits.split(10, num_validation=5, seed=1)


def test_a_missing_scikit_learn_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtraError, match=r'sklearn is needed .*pip install "multum\[vision\]"'):
        read_digits()


def test_digits_are_not_made_smaller_than_they_are() -> None:
    with pytest.raises(UserError, match="side must be at least 8 pixels"):
        read_digits(7)
