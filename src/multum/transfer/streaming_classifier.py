"""A linear classifier out of running means, so that classes can come later and the old ones need not be seen again.

A class is kept as the mean of its features, and the spread around the means is kept once, for all classes together:

    spread S = sum over pictures (z - mean of its class)(z - mean of its class)'
    score of class k = w_k . z + b_k,    w_k = P m_k,    b_k = - m_k . P m_k / 2,    P = inverse((1 - e) S / N + e v I)

A new class brings its own mean and leaves those of the others as they are to the last bit, where gradient descent on
new classes forgets the old. What is kept does not grow with the pictures, and no picture is in it.

Source: Hayes and Kanan, "Lifelong Machine Learning with Deep Streaming Linear Discriminant Analysis" (CVPR workshops
2020), section 3; batches are put together by Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for
Computing Sample Variances" (1979).
Differs from the paper: its update of the spread counts all pictures where the exact one counts those of the class, so
that its result depends on their order; ours does not, up to rounding. Its shrinkage e is 1e-4 (and v = 1), which is for
many more pictures than features; where nothing is said, ours follows from how many there are (Chen, Wiesel, Eldar and
Hero, "Shrinkage Algorithms for MMSE Covariance Estimation", 2010, equation 23; v is the mean variance). And scores are
told less their mean over the classes, which no decision and no softmax can see, so that float32 suffices.

Shape legend: B pictures of a batch, N all pictures, D features, K classes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multum.core import UserError, invalid
from multum.training import read_tensor_file, write_tensor_file

SCHEMA: Final = "multum.feature_statistics"
PAPER_SHRINKAGE: Final = 1e-4
"""So much of the spread is that of independent features of variance 1; for many more pictures than features."""


class FeatureStatistics:
    """What is kept of the features of all pictures so far, in float64.

    Args:
        num_features: Numbers that a picture's features are.

    Attributes:
        counts: Pictures of each class, by its name.
        means: Their mean features.
        scatter_DD: Sum of the squares and products of features less the mean of their class; the upper half counts.

    >>> statistics = FeatureStatistics(2)
    >>> statistics.add(torch.tensor([[0.0, 1.0], [2.0, 1.0], [5.0, 5.0]]), ["cat", "cat", "dog"])
    >>> statistics.counts, statistics.means["cat"].tolist(), statistics.scatter_DD.tolist()
    ({'cat': 2, 'dog': 1}, [1.0, 1.0], [[2.0, 0.0], [0.0, 0.0]])
    >>> statistics.classifier(["dog", "cat"])(torch.tensor([4.0, 5.0])).argmax().item()
    0
    """

    def __init__(self, num_features: int) -> None:
        if num_features < 1:
            raise invalid("num_features", "at least 1", num_features)
        self.counts: dict[str, int] = {}
        self.means: dict[str, Tensor] = {}
        self.scatter_DD = torch.zeros(num_features, num_features, dtype=torch.float64)

    @property
    def num_features(self) -> int:
        """Numbers that a picture's features are."""
        return len(self.scatter_DD)

    @property
    def num_pictures(self) -> int:
        """Pictures so far."""
        return sum(self.counts.values())

    def add(self, feature_BD: Float[Tensor, "B D"], names: Sequence[str]) -> None:
        """Take pictures in: one, or many at once, which comes to the same.

        Args:
            feature_BD: Their features.
            names: Their classes, known ones or new ones.

        Raises:
            UserError: Not as many names as pictures, features of another width, or a number that is not finite;
                nothing is taken in then.
        """
        if feature_BD.dim() != 2 or feature_BD.shape[1] != self.num_features or len(feature_BD) != len(names):
            expected = f"of shape ({len(names)}, {self.num_features}), a row for each name"
            raise invalid("features", expected, feature_BD)
        if not bool(torch.isfinite(feature_BD).all()):
            raise invalid("features", "finite", "NaN or infinity", "the network that made them is broken")
        wide_BD = feature_BD.detach().cpu().double()
        for name in dict.fromkeys(names):
            of_class = [row for row, other in enumerate(names) if other == name]
            self._add_class(name, wide_BD[of_class])

    def merge(self, other: "FeatureStatistics") -> None:
        """Take in all that other statistics have seen.

        Raises:
            UserError: Features of another width.
        """
        if other.num_features != self.num_features:
            raise invalid("statistics", f"of {self.num_features} features", other.num_features)
        self.scatter_DD += other.scatter_DD
        for name, count in other.counts.items():
            self._move_mean(name, other.means[name], count)

    def classifier(self, classes: Sequence[str], *, shrinkage: float | None = None) -> nn.Linear:
        """Compute the linear layer that tells classes apart.

        Args:
            classes: What its outputs are to stand for; two or more of those that were seen.
            shrinkage: How much of the spread is taken for that of independent features of variance 1, in (0, 1]; with
                1 the nearest mean decides. None: what the numbers of pictures and features ask for, of their own mean
                variance.

        Returns:
            A layer in float32 that does not train.

        Raises:
            UserError: A class that was not seen, fewer than two, one of them twice, or a shrinkage out of range.
        """
        strange = [name for name in classes if name not in self.counts]
        if strange or len(classes) < 2 or len(set(classes)) < len(classes):
            seen = ", ".join(self.counts) or "none yet"
            raise invalid(
                "classes", f"two or more of those that were seen ({seen}), each once", list(classes)
            )
        if shrinkage is not None and not 0 < shrinkage <= 1:
            raise invalid("shrinkage", "in (0, 1]", shrinkage, f"{PAPER_SHRINKAGE} is the paper's")
        mean_KD = torch.stack([self.means[name] for name in classes])
        covariance_DD = self.scatter_DD / self.num_pictures
        chosen, variance = shrinkage, 1.0
        if chosen is None:
            chosen, variance = approximating_shrinkage(covariance_DD, self.num_pictures)
        weight_KD, bias_K = linear_discriminant(mean_KD, covariance_DD, chosen, variance)
        with torch.random.fork_rng(devices=[]):  # what is drawn is overwritten
            layer = nn.Linear(self.num_features, len(classes)).requires_grad_(False)
        layer.weight.copy_(weight_KD)
        layer.bias.copy_(bias_K)
        return layer

    def _add_class(self, name: str, feature_BD: Float[Tensor, "B D"]) -> None:
        mean_D = feature_BD.mean(dim=0)
        centred_BD = feature_BD - mean_D
        self.scatter_DD.addmm_(centred_BD.T, centred_BD)
        self._move_mean(name, mean_D, len(feature_BD))

    def _move_mean(self, name: str, mean_D: Float[Tensor, " D"], count: int) -> None:
        """Put two groups of a class together, whose spread around their own means is counted already."""
        before = self.counts.get(name, 0)
        self.counts[name] = before + count
        if not before:
            self.means[name] = mean_D.clone()
            return
        step_D = mean_D - self.means[name]
        self.means[name] = self.means[name] + step_D * (count / (before + count))
        self.scatter_DD.addr_(step_D, step_D, alpha=before * count / (before + count))


def approximating_shrinkage(covariance_DD: Float[Tensor, "D D"], num_pictures: int) -> tuple[float, float]:
    """How far a covariance of few pictures is to be drawn towards independent features, and of which variance.

    Source: Chen, Wiesel, Eldar and Hero (2010), equation 23, the oracle approximating shrinkage.

    Args:
        covariance_DD: As it was measured; its upper half counts.
        num_pictures: On so many pictures.

    Returns:
        The shrinkage in (0, 1], and the mean variance; 1 and 1 where nothing varies.

    >>> approximating_shrinkage(torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64)), 8)
    (1.0, 2.0)
    """
    size = len(covariance_DD)
    trace = float(covariance_DD.trace())
    upper_DD = covariance_DD.triu()
    squares = float(2 * upper_DD.square().sum() - upper_DD.diagonal().square().sum())
    over = (num_pictures + 1 - 2 / size) * (squares - trace**2 / size)
    if trace <= 0:
        return 1.0, 1.0
    under = (1 - 2 / size) * squares + trace**2
    return (min(1.0, under / over) if over > 0 else 1.0), trace / size


def linear_discriminant(
    mean_KD: Float[Tensor, "K D"],
    covariance_DD: Float[Tensor, "D D"],
    shrinkage: float,
    variance: float = 1.0,
) -> tuple[Float[Tensor, "K D"], Float[Tensor, " K"]]:
    """Weights and shifts of the classifier, less their mean over the classes; everything in float64.

    Args:
        mean_KD: Mean features of the classes.
        covariance_DD: Of the features around them; its upper half counts.
        shrinkage: In (0, 1].
        variance: Of the independent features that it is drawn towards.
    """
    own_DD = variance * torch.eye(len(covariance_DD), dtype=torch.float64)
    upper_DD = torch.linalg.cholesky((1 - shrinkage) * covariance_DD + shrinkage * own_DD, upper=True)
    weight_KD = torch.cholesky_solve(mean_KD.T, upper_DD, upper=True).T
    bias_K = -(mean_KD * weight_KD).sum(dim=1) / 2
    return weight_KD - weight_KD.mean(dim=0), bias_K - bias_K.mean()


def save_statistics(path: Path, statistics: FeatureStatistics, *, features: str) -> None:
    """Write statistics, completely or not at all; of the scatter, which is symmetric, one half.

    Args:
        path: Where to; an existing file is replaced.
        statistics: Of at least one picture.
        features: Tells the features from those of another network.
    """
    upper_2P = torch.triu_indices(statistics.num_features, statistics.num_features)
    tensors = {
        "means": torch.stack(list(statistics.means.values())),
        "scatter": statistics.scatter_DD[upper_2P[0], upper_2P[1]],
    }
    header = {"counts": list(map(list, statistics.counts.items())), "features": features}
    write_tensor_file(path, tensors, header, schema=SCHEMA)


def load_statistics(path: Path, *, features: str) -> FeatureStatistics | None:
    """Read statistics again, bit for bit.

    Args:
        path: What `save_statistics` wrote.
        features: Of the network that is there now.

    Returns:
        The statistics; None if there is no such file, or it is about features of another network.

    Raises:
        UserError: The file is broken, or something else.
    """
    if not path.exists():
        return None
    tensors, header = read_tensor_file(path, schema=SCHEMA)
    if header.get("features") != features:
        return None
    mean_KD, upper_P = tensors.get("means"), tensors.get("scatter")
    counts = dict(header.get("counts", []))
    if mean_KD is None or upper_P is None or mean_KD.dim() != 2 or len(mean_KD) != len(counts):
        raise UserError(
            f"{path} must hold means and scatter of the classes it names; remove it, to make it anew"
        )
    statistics = FeatureStatistics(mean_KD.shape[1])
    statistics.counts, statistics.means = counts, dict(zip(counts, mean_KD.unbind(), strict=True))
    statistics.scatter_DD = _symmetric(upper_P, statistics.num_features, path)
    return statistics


def _symmetric(upper_P: Tensor, size: int, path: Path) -> Float[Tensor, "D D"]:
    row_P, column_P = torch.triu_indices(size, size)
    if upper_P.shape != row_P.shape or upper_P.dtype != torch.float64:
        raise UserError(f"{path} must hold half a matrix of {size} features; remove it, to make it anew")
    whole_DD = torch.zeros(size, size, dtype=torch.float64)
    whole_DD[row_P, column_P] = upper_P
    whole_DD[column_P, row_P] = upper_P
    return whole_DD
