"""Batches of pictures, decoded once where memory allows, by several threads where there are some.

Decoding a photograph takes longer than anything else that is done to it, and its pixels far outnumber those that a
network sees. So each picture is shrunk once after decoding, and kept as bytes as long as a budget lasts. Pictures come
in random order, each once in an epoch, so that those which were kept first are worth as much as any other: nothing is
ever thrown out of the cache for something else.

Whether a picture was kept or decoded anew, and by how many threads, changes nothing about the result.

Shape legend: B pictures of a batch, H height, W width, S side of the network's input; the 3 are red, green, blue.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from multum.core.errors import invalid
from multum.data.image_framing import PictureTransform
from multum.data.image_transforms import resize
from multum.data.picture_file import read_picture

Picture = Path | Tensor
"""A file, or a picture (3, H, W) of uint8 that is there already."""


class ImageBatches:
    """Pictures by their number, and batches of them.

    Args:
        pictures: Files, or pictures that are in memory; `tuple(pictures_N3HW)` makes the latter of a tensor.
        shorter_side: Pictures are shrunk so that their shorter side has at most so many pixels; best not below what
            the transforms ask for, which is the network's side / 0.875 for testing.
        cache_bytes: How many bytes of decoded pictures are kept; 0 keeps none.
        num_threads: How many threads decode. Transforms run in the caller's.

    Raises:
        UserError: A size is out of range.

    Example:
        >>> from multum.data import TestTransform
        >>> pictures = torch.zeros(10, 3, 32, 32, dtype=torch.uint8)
        >>> ImageBatches(tuple(pictures)).load([4, 2], TestTransform(side=24)).shape
        torch.Size([2, 3, 24, 24])
    """

    def __init__(
        self,
        pictures: Sequence[Picture],
        *,
        shorter_side: int = 256,
        cache_bytes: int = 2**30,
        num_threads: int = 1,
    ) -> None:
        for name, value, least in (
            ("shorter_side", shorter_side, 1),
            ("cache_bytes", cache_bytes, 0),
            ("num_threads", num_threads, 1),
        ):
            if value < least:
                raise invalid(name, f"at least {least}", value)
        self.pictures = pictures
        self.shorter_side = shorter_side
        self.cache_bytes = cache_bytes
        self.num_threads = num_threads
        self._cache: dict[int, Tensor] = {}
        self._cached_bytes = 0

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def cached_bytes(self) -> int:
        """Bytes of the pictures that are kept at present; at most `cache_bytes`."""
        return self._cached_bytes

    def load(
        self, indices: Sequence[int], transform: PictureTransform, *, epoch: int = 0
    ) -> Float[Tensor, "B 3 S S"]:
        """Load a batch.

        Args:
            indices: Numbers of the pictures.
            transform: What is done to each; it is told the picture's number and the epoch.
            epoch: Number of the epoch.

        Returns:
            The batch, in the order of `indices`, in torch's usual memory layout.

        Raises:
            UserError: No index, one that is out of range, or a file that cannot be read.
        """
        if not indices:
            raise invalid("indices", "at least one", list(indices))
        for index in indices:
            if not 0 <= index < len(self.pictures):
                raise invalid("index of a picture", f"in [0, {len(self.pictures)})", index)
        ready = {index: self._cache[index] for index in indices if index in self._cache}
        missing = [index for index in dict.fromkeys(indices) if index not in ready]
        for index, picture in zip(missing, self._prepare(missing), strict=True):
            ready[index] = picture
            self._keep(index, picture)
        side = transform.side
        batch_B3SS = torch.zeros(len(indices), 3, side, side)
        for row, index in enumerate(indices):
            batch_B3SS[row] = transform(ready[index], sample=index, epoch=epoch)
        return batch_B3SS

    def _prepare(self, indices: list[int]) -> list[Tensor]:
        """Decode and shrink pictures; an error is raised for the first of them that has one."""
        if self.num_threads == 1 or len(indices) < 2:
            return [self._decode(index) for index in indices]
        with ThreadPoolExecutor(min(self.num_threads, len(indices))) as pool:
            return list(pool.map(self._decode, indices))

    def _decode(self, index: int) -> UInt8[Tensor, "3 H W"]:
        picture = self.pictures[index]
        return shrink(read_picture(picture) if isinstance(picture, Path) else picture, self.shorter_side)

    def _keep(self, index: int, picture_3HW: UInt8[Tensor, "3 H W"]) -> None:
        """Put a picture into the cache if the budget allows; one that lies in memory anyway needs no second copy."""
        num_bytes = picture_3HW.numel()
        in_memory = picture_3HW is self.pictures[index]
        if in_memory or self._cached_bytes + num_bytes > self.cache_bytes:
            return
        self._cache[index] = picture_3HW
        self._cached_bytes += num_bytes


def shrink(picture_3HW: UInt8[Tensor, "3 H W"], shorter_side: int) -> UInt8[Tensor, "3 h w"]:
    """Resize a picture whose shorter side is longer than this, keeping its proportions; others stay.

    Example:
        >>> shrink(torch.zeros(3, 40, 80, dtype=torch.uint8), 20).shape
        torch.Size([3, 20, 40])
    """
    height, width = picture_3HW.shape[1:]
    if min(height, width) <= shorter_side:
        return picture_3HW
    factor = shorter_side / min(height, width)
    return resize(
        picture_3HW, max(shorter_side, round(height * factor)), max(shorter_side, round(width * factor))
    )
