"""A folder of pictures is read as people see it, and what is wrong with it is said in one sentence."""

from pathlib import Path

import pytest
from PIL import Image

from multum.core import UserError
from multum.data import ImageFolder, read_image_folder


def fill(folder: Path, *names: str) -> Path:
    """Write a small picture under each name."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (10, 8), (len(name), 0, 0)).save(path)
    return folder


def names_of(found: ImageFolder, root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in found.paths]


def test_classes_and_pictures_come_as_people_count(tmp_path: Path) -> None:
    fill(tmp_path, "10/b.png", "10/a.png", "9/img10.png", "9/img2.PNG", "9/Img1.jpg")
    found = read_image_folder(tmp_path)
    assert found.classes == ("9", "10")
    assert names_of(found, tmp_path) == ["9/Img1.jpg", "9/img2.PNG", "9/img10.png", "10/a.png", "10/b.png"]
    assert found.labels == (0, 0, 0, 1, 1)
    assert (found.parts, found.skipped) == ((), ())
    assert len(found) == 5


def test_wanted_classes_come_in_the_wanted_order(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "a/2.png", "b/1.png", "c/1.png", "c/2.png")
    found = read_image_folder(tmp_path, classes=("c", "a"))
    assert found.classes == ("c", "a")
    assert names_of(found, tmp_path) == ["c/1.png", "c/2.png", "a/1.png", "a/2.png"]
    with pytest.raises(UserError, match=r"class must be a sub-folder of .*; got 'cc'; did you mean c"):
        read_image_folder(tmp_path, classes=("cc", "a"))
    for classes in (("c",), ("c", "c")):
        with pytest.raises(UserError, match="two or more, each once"):
            read_image_folder(tmp_path, classes=classes)


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "validation", "TESTING")])
def test_parts_come_from_their_sub_folders(tmp_path: Path, names: tuple[str, str, str]) -> None:
    train, validation, test = names
    fill(tmp_path, *(f"{part}/{it}/1.png" for part in names for it in ("cat", "dog")))
    found = read_image_folder(tmp_path)
    assert found.classes == ("cat", "dog")
    part_of = dict(zip(names_of(found, tmp_path), found.parts, strict=True))
    assert part_of == {
        **{f"{train}/{it}/1.png": "train" for it in ("cat", "dog")},
        **{f"{validation}/{it}/1.png": "validation" for it in ("cat", "dog")},
        **{f"{test}/{it}/1.png": "test" for it in ("cat", "dog")},
    }


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    fill(tmp_path, "train/1.png", "train/2.png", "bus/1.png", "bus/2.png")
    assert read_image_folder(tmp_path).classes == ("bus", "train")


def test_what_is_hidden_does_not_count(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "a/2.png", "a/.3.png", "b/1.png", "b/2.png", ".git/1.png")
    (tmp_path / "a" / ".DS_Store").write_bytes(b"\0")
    found = read_image_folder(tmp_path)
    assert (found.classes, len(found), found.skipped) == (("a", "b"), 4, ())


def test_links_count_only_inside_the_folder(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    fill(outside, "x/1.png", "x/2.png")
    fill(root, "a/1.png", "a/2.png", "b/1.png", "b/2.png")
    (root / "x").symlink_to(outside / "x")
    (root / "a" / "out.png").symlink_to(outside / "x" / "1.png")
    (root / "a" / "in.png").symlink_to(root / "b" / "1.png")
    (root / "a" / "nowhere.png").symlink_to(root / "missing.png")
    (root / "a" / "circle.png").symlink_to(root / "a" / "circle.png")
    found = read_image_folder(root)
    assert found.classes == ("a", "b")
    assert names_of(found, root) == ["a/1.png", "a/2.png", "a/in.png", "b/1.png", "b/2.png"]
    assert sorted(note.partition(":")[0].rpartition("/")[2] for note in found.skipped) == [
        "circle.png",
        "nowhere.png",
        "out.png",
        "x",
    ]
    assert all("a link that leads out of" in note for note in found.skipped)


def test_a_root_that_is_a_link_itself_is_fine(tmp_path: Path) -> None:
    fill(tmp_path / "real", "a/1.png", "a/2.png", "b/1.png", "b/2.png")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert len(read_image_folder(tmp_path / "link")) == 4


def test_whatever_is_left_out_is_listed(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "a/2.png", "a/deeper/3.png", "b/1.png", "b/2.png", "loose.png")
    (tmp_path / "a" / "Thumbs.db").write_bytes(b"\0")
    skipped = read_image_folder(tmp_path).skipped
    assert [note.partition(str(tmp_path))[2] for note in skipped] == [
        "/loose.png: beside the classes' folders",
        "/a/deeper: a folder inside a class",
        "/a/Thumbs.db: no picture, by its name",
    ]


def test_folders_beside_the_parts_are_listed(tmp_path: Path) -> None:
    fill(tmp_path, "train/a/1.png", "train/b/1.png", "extra/a/2.png", "note.png")
    (note, extra) = read_image_folder(tmp_path).skipped
    assert note.endswith("note.png: beside train/")
    assert extra.endswith("extra: beside train/, but neither val/ nor test/")


def test_broken_files_are_named_or_on_request_listed(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "a/2.png", "b/1.png", "b/2.png")
    (tmp_path / "a" / "bad.jpg").write_bytes(b"no picture")
    (tmp_path / "b" / "phone.HEIC").write_bytes(b"ftypheic")
    with pytest.raises(UserError, match=r"got '2 broken of 6'.*bad\.jpg must be .*HEIC.*skip_broken=True"):
        read_image_folder(tmp_path)
    found = read_image_folder(tmp_path, skip_broken=True)
    assert len(found) == 4
    assert [("bad.jpg" in note, "phone.HEIC" in note) for note in found.skipped] == [
        (True, False),
        (False, True),
    ]


def test_the_check_up_front_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a/1.png", "a/2.png", "b/1.png", "b/2.png")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("it was decoded"))
    assert len(read_image_folder(tmp_path)) == 4


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "one with a sub-folder for each class; got 'none'; put the pictures of each class"),
        (("1.png", "2.png"), "one with a sub-folder for each class; got 'none'"),
        (("a/1.png", "a/2.png"), r"two or more, each once; got \['a'\]"),
        (
            ("a/1.png", "a/2.png", "b/1.png"),
            "class b must be of at least 2 readable pictures; got 1; add pictures",
        ),
        (
            ("a/b/1.png", "a/b/2.png", "c/1.png"),
            "class folder .*/a must be one with pictures in it; got 'none, but 1",
        ),
        (("train/a/1.png", "train/b/1.png", "test/c/1.png"), r"among those of train/; got \['c'\]"),
        (
            ("train/a/1.png", "train/b/1.png", "val/a/1.png", "valid/a/1.png"),
            "validation pictures in .* one",
        ),
    ],
)
def test_a_folder_of_another_shape_is_refused(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_image_folder(fill(tmp_path, *names))


def test_an_empty_class_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "a/2.png", "b/1.png", "b/2.png")
    (tmp_path / "c").mkdir()
    with pytest.raises(UserError, match=r"class folder .*/c must be one with pictures in it; got 'none'"):
        read_image_folder(tmp_path)


def test_a_class_of_broken_files_is_not_skipped_with_them(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "a/2.png", "b/1.png")
    (tmp_path / "b" / "2.png").write_bytes(b"")
    with pytest.raises(UserError, match="class b must be of at least 2 readable pictures; got 1"):
        read_image_folder(tmp_path, skip_broken=True)


def test_a_missing_folder_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"an existing folder.*for instance cat/1\.jpg"):
        read_image_folder(tmp_path / "nowhere")
