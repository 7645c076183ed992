"""Any picture file as three colours of 8 bits, or one sentence that says why not.

Cameras, scanners and drawing programs write more than a network expects: grey, palettes, transparency, 16 bits, the
four inks of a printer, and pictures that lie on their side with a note to turn them. Read carelessly, each of these
gives a wrong picture without any complaint, and a wrong picture costs accuracy that nobody finds again. A small file
may also unfold to gigabytes: its size is looked up in its header, before a single pixel is decoded.

Shape legend: H height, W width; the 3 are red, green, blue.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from multum.core.errors import UserError, invalid, require_module

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 50_000_000
"""Pixels of the largest picture that is decoded; its three colours take 150 MB."""

MIN_SIDE = 8
"""Pixels of the shortest side that a picture may have."""

FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "PPM", "JPEG2000", "TGA")
"""What is decoded, as Pillow calls it; nothing that would start another program, as PostScript does."""

_REMEDY = "open it in a picture viewer and save it anew, as JPEG or PNG"
_ORIENTATION_TAG = 0x0112
_GREY16 = ("I;16", "I;16B", "I;16L", "I;16N", "I")


def read_picture(path: Path) -> UInt8[Tensor, "3 H W"]:
    """Decode a picture file.

    Grey becomes three equal colours, 16 bits are rounded to 8, transparency is laid on white, inks become light, a
    note to turn the picture is obeyed, and of a moving picture the first one is taken.

    Args:
        path: The file; its content says what it is, not its name.

    Returns:
        The picture, 0 black to 255. In memory the colours of a pixel lie side by side, as they come from the decoder.

    Raises:
        UserError: There is no such file; it is no picture, or cut short; its values have no agreed range (floating
            point, 32 bits); it has more than `MAX_PIXELS` pixels or a side below `MIN_SIDE`. Pillow is missing.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "grey.png"
        ...     Image.new("L", (12, 8), 200).save(path)
        ...     picture_3HW = read_picture(path)
        >>> picture_3HW.shape, picture_3HW.unique()
        (torch.Size([3, 8, 12]), tensor([200], dtype=torch.uint8))
    """
    with _opened(path) as image:
        image.load()
        colour = _on_white(_upright(image))
        return torch.from_numpy(np.array(colour)).permute(2, 0, 1)


def check_picture(path: Path) -> None:
    """Look at the header of a picture file, without decoding it: quick, but damage further down stays unseen.

    Args:
        path: The file.

    Raises:
        UserError: As `read_picture`, as far as the header tells.
    """
    with _opened(path):
        pass


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, by the header alone; errors as those of `check_picture`."""
    with _opened(path) as image:
        width, height = image.size
        return int(width), int(height)


@contextmanager
def _opened(path: Path) -> Iterator["Image"]:
    """Open a file and check what its header says; whatever goes wrong inside the block is told as one sentence.

    Damaged files make decoders stumble in every way there is, so every exception counts as damage. Pillow's warnings
    arrive here too where the caller has made warnings errors.
    """
    pillow = require_module("PIL.Image", "vision")
    name = f"picture {path}"
    try:
        pillow.init()
        known = tuple(kind for kind in FORMATS if kind in pillow.OPEN)
        # Given a name, Pillow maps some files into memory, and mixes up the sides of turned TIFF files (13.0).
        with path.open("rb") as file, pillow.open(file, formats=known) as image:
            _check_size(image.size, name)
            yield image
    except (UserError, MemoryError):
        raise
    except FileNotFoundError as problem:
        raise invalid(name, "an existing file", str(path)) from problem
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as problem:
        raise _too_large(name, "more than that") from problem
    except pillow.UnidentifiedImageError as problem:
        raise invalid(name, f"of a known kind ({', '.join(known)})", "something else", _REMEDY) from problem
    except (PermissionError, IsADirectoryError) as problem:
        raise invalid(name, "a readable file", problem.strerror) from problem
    except (
        Exception
    ) as problem:  # decoders raise whatever damaged bytes lead them to: index, value, struct errors
        raise invalid(
            name, "whole and readable", str(problem) or type(problem).__name__, _REMEDY
        ) from problem


def _check_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise _too_large(name, f"{width} x {height}")
    if min(size) < MIN_SIDE:
        raise invalid(
            name, f"at least {MIN_SIDE} pixels high and wide", f"{width} x {height}", "leave it out"
        )


def _too_large(name: str, found: str) -> UserError:
    constraint = f"of at most {MAX_PIXELS // 1_000_000} million pixels"
    return invalid(name, constraint, found, "save it smaller: a network sees a few hundred pixels a side")


def _upright(image: "Image") -> "Image":
    """Turn a picture as its camera noted; a note that cannot be read turns nothing."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        turn = turns.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # the picture is whole, only what was noted beside it is not
        return image
    if turn is None:
        return image
    turned = image.transpose(turn)
    turned.info = dict(image.info)  # which colour is transparent, for one
    return turned


def _on_white(image: "Image") -> "Image":
    """Bring any kind of pixel to red, green and blue of 8 bits."""
    from PIL import Image

    if image.mode in _GREY16:
        return Image.fromarray(_eight_bits(np.array(image))).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point values, whose black and white no one knows")
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", opaque.size, "white")
        return Image.alpha_composite(white, opaque).convert("RGB")
    return image.convert("RGB")


def _eight_bits(grey: np.ndarray) -> np.ndarray:
    """Round 16-bit values so that both ends of the range, and equal steps between, stay what they are."""
    value = grey.astype(np.int64)
    if value.min() < 0 or value.max() > 65535:
        raise ValueError("values of more than 16 bits")
    return ((value * 255 + 32767) // 65535).astype(np.uint8)
