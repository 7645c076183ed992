"""Pictures inside a page: small copies, as data, each with a line or two under it."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import UInt8
from torch import Tensor

from multum.core.errors import invalid, require_module
from multum.report.markup import Html, element

JPEG_QUALITY = 82


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """A picture and what stands under it."""

    label: str
    """What it is, in a word or two."""
    note: str
    """A second line, smaller."""
    name: str
    """Its file or number, shown to whoever points at it."""
    data: str | None = None
    """The picture as a `data:` address (`picture_data`); None where it is gone."""


def picture_data(picture_3HW: UInt8[Tensor, "3 H W"]) -> str:
    """Write a picture as an address that holds all of it.

    Args:
        picture_3HW: 0 black to 255, as large as it shall be shown.

    Returns:
        The address.

    Raises:
        MissingExtraError: Pillow is not installed.

    >>> import torch
    >>> picture_data(torch.zeros(3, 8, 8, dtype=torch.uint8))[:23]
    'data:image/jpeg;base64,'
    """
    image = require_module("PIL.Image", "vision").fromarray(picture_3HW.permute(1, 2, 0).contiguous().numpy())
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def picture_grid(thumbnails: Sequence[Thumbnail]) -> Html:
    """Show pictures beside each other, as many in a row as there is room for.

    Args:
        thumbnails: In order.

    Returns:
        A list; a picture that is gone leaves its name.

    Raises:
        UserError: When there are none.
    """
    if not thumbnails:
        raise invalid("thumbnails", "at least one", list(thumbnails))
    return element("ul", {"class": "pictures"}, *map(_item, thumbnails))


def _item(it: Thumbnail) -> Html:
    words = [element("b", None, it.label), element("span", None, it.note)]
    if it.data is None:
        return element("li", None, element("span", {"class": "gone"}, it.name), *words)
    picture = element("img", {"src": it.data, "alt": f"{it.name}: {it.label}", "title": it.name})
    return element("li", None, picture, *words)
