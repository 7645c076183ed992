"""Ten classes of clothes, photographed by many people: an honest task for networks that know ImageNet.

3,781 photographs, "Clothing dataset (small)" by Alexey Grigorev and contributors, CC0, in the parts that its author
published: 3,068 to learn from, 341 to choose by, 372 to test on. The project ships none of it.
"""

from collections import Counter
from pathlib import Path

from multum.core.errors import invalid
from multum.data.image_folder import ImageFolder, read_image_folder

CLOTHING_NUM_PICTURES: dict[str, dict[str, int]] = {
    "dress": {"train": 241, "validation": 32, "test": 15},
    "hat": {"train": 123, "validation": 14, "test": 12},
    "longsleeve": {"train": 455, "validation": 49, "test": 72},
    "outwear": {"train": 184, "validation": 24, "test": 38},
    "pants": {"train": 468, "validation": 49, "test": 42},
    "shirt": {"train": 290, "validation": 29, "test": 26},
    "shoes": {"train": 198, "validation": 26, "test": 73},
    "shorts": {"train": 202, "validation": 25, "test": 30},
    "skirt": {"train": 112, "validation": 12, "test": 12},
    "t-shirt": {"train": 795, "validation": 81, "test": 52},
}
"""Pictures of each class in each part, as published."""

CLOTHING_SOURCE = (
    "get it with `git clone https://github.com/alexeygrigorev/clothing-dataset-small` and give the folder that holds "
    "train/, validation/ and test/"
)
"""Where a stranger gets the pictures, as the errors say it."""


def read_clothing(folder: Path, *, require_complete: bool = True) -> ImageFolder:
    """Read the pictures in their published parts; `split_images` then takes these parts as they are.

    Args:
        folder: The folder with `train/`, `validation/` and `test/`.
        require_complete: Whether to refuse a copy with other numbers of pictures than published.

    Returns:
        The pictures and their parts.

    Raises:
        UserError: The folder is missing, is laid out otherwise, has other classes or numbers, or a broken file.
    """
    if not (folder / "train").is_dir():
        raise invalid("clothing folder", "an existing folder with train/ in it", str(folder), CLOTHING_SOURCE)
    found = read_image_folder(folder)
    expected = CLOTHING_NUM_PICTURES
    if set(found.classes) != set(expected) or set(found.parts) != {"train", "validation", "test"}:
        seen = (*found.classes, *sorted(set(found.parts)))
        raise invalid(f"clothing folder {folder}", "of the ten published classes", seen, CLOTHING_SOURCE)
    count = Counter(zip((found.classes[label] for label in found.labels), found.parts, strict=True))
    for name, parts in expected.items():
        for part, number in parts.items():
            if require_complete and count[name, part] != number:
                where = f"{part} pictures of class {name}"
                raise invalid(where, f"{number}, as published", count[name, part], CLOTHING_SOURCE)
    return found
