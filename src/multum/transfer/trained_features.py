"""What a trained network's classifier sees of pictures.

Shape legend: N pictures, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multum.core import track
from multum.training import hash_tensors
from multum.transfer.train_data import Pictures
from multum.transfer.train_parts import load_batch
from multum.transfer.trained_run import TrainedNetwork


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledFeatures:
    """Features of some pictures, and what these are."""

    feature_ND: Float[Tensor, "N D"]
    """A row for each picture."""
    classes: tuple[str, ...]
    """Their classes, by name."""
    pictures: tuple[str, ...]
    """What a report calls them."""


def labelled_features(
    trained: TrainedNetwork, pictures: Pictures, samples: Sequence[int], batch_size: int
) -> LabelledFeatures:
    """Compute features of pictures and keep their classes beside them; arguments are those of `features_of`."""
    return LabelledFeatures(
        feature_ND=features_of(trained, pictures, samples, batch_size),
        classes=tuple(pictures.folder.classes[label] for label in pictures.labels_of(samples)),
        pictures=tuple(pictures.names[sample] for sample in samples),
    )


@torch.no_grad()
def features_of(
    trained: TrainedNetwork, pictures: Pictures, samples: Sequence[int], batch_size: int
) -> Float[Tensor, "N D"]:
    """What a network's classifier sees of pictures.

    Args:
        trained: The network.
        pictures: Where they come from.
        samples: Numbers of those that are asked for, one at least.
        batch_size: So many at a time.
    """
    model = trained.network.model
    seen: list[Tensor] = []

    def look(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen.append(given[0].float().cpu())

    handle = classifier_of(trained).register_forward_pre_hook(look)
    try:
        for start in track(range(0, len(samples), batch_size), "computing features"):
            model(load_batch(model, pictures, samples[start : start + batch_size], pictures.frame))
    finally:
        handle.remove()
    return torch.cat(seen)


def features_name(trained: TrainedNetwork) -> str:
    """Tells the features of a network, which know nothing of its classifier, from those of another."""
    header = trained.delta.header
    own = {
        name: it for name, it in trained.delta.tensors.items() if not name.startswith(f"{header.classifier}.")
    }
    return f"{header.backbone} {hash_tensors(own)} {trained.run.side}"


def classifier_of(trained: TrainedNetwork) -> nn.Module:
    """A trained network's last layer."""
    return trained.network.model.get_submodule(trained.network.adapted.classifier)
