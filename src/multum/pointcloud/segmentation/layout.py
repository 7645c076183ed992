"""Scans out of a folder whose kind is told or recognized: by what no other data set has in it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from multum.core import check_fields, invalid
from multum.pointcloud.lidar import (
    PANDASET_COARSE,
    ScanSet,
    read_nuscenes_lidarseg,
    read_pandaset,
    read_points,
    read_scan_folder,
    read_semantic_kitti,
)

Layout = Literal["semantic-kitti", "nuscenes", "pandaset", "folder"]
"""Kinds of folders."""


@dataclass(frozen=True, kw_only=True)
class LayoutWish:
    """What is told about a folder beside its path.

    Raises:
        UserError: Two classes of one name.
    """

    layout: Layout | None = None
    """Its kind; None recognizes it."""
    classes: tuple[str, ...] = ()
    """Names of the classes of one's own scans."""
    ignored_label: int | None = None
    """Number in labels of one's own scans that stands for no class."""
    num_columns: int | None = None
    """Numbers for each point of one's own .bin files."""
    coarse: bool = False
    """Whether PandaSet has 15 classes instead of 42."""

    def __post_init__(self) -> None:
        check_fields(self)
        if len(set(self.classes)) < len(self.classes):
            raise invalid("classes", "different from one another", self.classes)


def recognize(folder: Path) -> Layout:
    """Tell the kind of a folder by what lies in it; whatever is no data set we know is one's own.

    Raises:
        UserError: There is no such folder.
    """
    if not folder.is_dir():
        raise invalid("folder of scans", "an existing folder, or the word synthetic", str(folder))
    if (folder / "sequences").is_dir():
        return "semantic-kitti"
    if (folder / "lidarseg").is_dir() or any(folder.glob("v1.0-*")):
        return "nuscenes"
    if any(folder.glob("[!.]*.npz")):
        return "pandaset"
    return "folder"


def open_scans(place: Path, wish: LayoutWish) -> ScanSet:
    """List the scans of a folder; none is read.

    Args:
        place: The folder.
        wish: What is told about it.

    Raises:
        UserError: As the reader of its kind; a wish that means nothing there.
    """
    layout = wish.layout or recognize(place)
    own = (wish.ignored_label, wish.num_columns, wish.classes)
    if layout != "folder" and own != (None, None, ()):
        remedy = f"{place} is taken for {layout}; layout says otherwise"
        raise invalid("classes, ignored_label and num_columns", "left out but for a folder", own, remedy)
    if layout != "pandaset" and wish.coarse:
        raise invalid("coarse", "left out where the scans are not of PandaSet", wish.coarse)
    if layout == "semantic-kitti":
        return read_semantic_kitti(place)
    if layout == "nuscenes":
        return read_nuscenes_lidarseg(place)
    if layout == "pandaset":
        return read_pandaset(place, coarse=wish.coarse)
    return read_scan_folder(
        place, classes=wish.classes, ignored_label=wish.ignored_label, num_columns=wish.num_columns
    )


def known_by(classes: tuple[str, ...], place: Path, wish: LayoutWish) -> LayoutWish:
    """What is told about a folder, and where nothing is, what a network of these classes knows of it.

    Raises:
        UserError: There is no such folder.
    """
    layout = wish.layout or recognize(place)
    if layout == "pandaset" and classes == tuple(PANDASET_COARSE):
        return replace(wish, coarse=True)
    if layout == "folder" and not wish.classes:
        return replace(wish, classes=classes)
    return wish


def open_file(path: Path, num_columns: int | None = None) -> ScanSet:
    """One scan alone, without labels, as a set."""
    return ScanSet(
        names=(path.stem,), load=lambda name: read_points(path, num_columns=num_columns, name=name)
    )
