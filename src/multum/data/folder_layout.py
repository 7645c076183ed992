"""What the sub-folders of a folder of pictures mean: classes, or parts with classes inside."""

from collections.abc import Sequence
from pathlib import Path

from multum.core.errors import did_you_mean, invalid
from multum.data.folder_entries import Entries, visible_entries

PART_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""Sub-folders that are no classes but parts, each with the classes inside, and what the parts are called here."""

LAYOUT = (
    "put the pictures of each class into a sub-folder of its own, named after the class, for instance cat/1.jpg and "
    "dog/1.jpg; or the same once more inside train/, val/ and test/"
)
"""What a folder must look like, as the errors say it."""


def find_parts(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Find the sub-folders of parts, by what they are called here; one without a name where there are none.

    A class may be called "train" as well: it then holds pictures, and not folders.
    """
    top = visible_entries(folder, folder)
    named = [(PART_NAMES.get(place.name.casefold()), place) for place in top.folders]
    train = [place for part, place in named if part == "train"]
    if not any(visible_entries(place, folder).folders for place in train):
        return {"": folder}, []
    parts: dict[str, Path] = {}
    notes = [*top.notes, *(f"{file}: beside {train[0].name}/" for file in top.files)]
    for part, place in named:
        if part is None:
            notes.append(f"{place}: beside {train[0].name}/, but neither val/ nor test/")
        elif part in parts:
            raise invalid(f"{part} pictures in {folder}", "in one sub-folder", [parts[part].name, place.name])
        else:
            parts[part] = place
    return {part: parts[part] for part in dict.fromkeys(PART_NAMES.values()) if part in parts}, notes


def settle_classes(
    folder: Path, inside: dict[str, Entries], wanted: Sequence[str] | None, least: int = 2
) -> tuple[str, ...]:
    """Settle what the classes are; those of `train/` where there are parts."""
    found = [place.name for place in inside["train" if "train" in inside else ""].folders]
    if not found:
        raise invalid(f"picture folder {folder}", "one with a sub-folder for each class", "none", LAYOUT)
    for part, entries in inside.items():
        strange = [place.name for place in entries.folders if place.name not in found]
        if strange:
            raise invalid(
                f"classes of the {part} pictures", "among those of train/", strange, "add them to train/"
            )
    names = tuple(found if wanted is None else wanted)
    for name in names:
        if name not in found:
            raise invalid("class", f"a sub-folder of {folder}", name, did_you_mean(name, found))
    if len(names) < least or len(set(names)) < len(names):
        number = "two" if least == 2 else str(least)
        raise invalid(f"classes of {folder}", f"{number} or more, each once", list(names), LAYOUT)
    return names
