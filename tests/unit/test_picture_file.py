"""Every kind of picture file becomes the same three colours, and what is none is refused by name."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from multum.core import MissingExtraError, UserError
from multum.data import check_picture, read_picture

RED, BLUE = (200, 10, 20), (10, 20, 200)


def two_halves(width: int = 20, height: int = 12) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def bare_png(width: int, height: int) -> bytes:
    """Write a PNG that claims a size and brings hardly a pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0"))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm", "webp", "gif", "tga", "jp2"])
def test_kinds_without_loss_give_the_pixels(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"halves.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    two_halves().save(path, **options)
    picture = read_picture(path)
    assert picture.dtype == torch.uint8
    assert picture.shape == (3, 12, 20)
    assert picture[:, 0, 0].tolist() == list(RED)
    assert picture[:, 11, 19].tolist() == list(BLUE)


def test_jpeg_is_read_whatever_its_name_says(tmp_path: Path) -> None:
    two_halves().save(tmp_path / "wrong.png", "JPEG", quality=95)
    picture = read_picture(tmp_path / "wrong.png").int()
    assert (picture[:, 6, 3] - torch.tensor(RED)).abs().max() < 8


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK"])
def test_every_mode_of_a_white_picture_is_white(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("white.tiff" if mode == "CMYK" else "white.png")
    Image.new("RGB", (9, 8), "white").convert(mode).save(path)
    assert (read_picture(path) == 255).all()


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("RGBA", (8, 8), (255, 0, 0, 128)).save(tmp_path / "half.png")
    assert (read_picture(tmp_path / "clear.png") == 255).all()
    assert read_picture(tmp_path / "half.png")[:, 0, 0].tolist() == [255, 127, 127]


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"])
def test_a_transparent_entry_of_a_palette_is_white(tmp_path: Path, transparency: int | bytes) -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([0, 0, 0, 9, 9, 9])
    image.putpixel((3, 3), 1)
    image.save(tmp_path / "palette.png", transparency=transparency)
    picture = read_picture(tmp_path / "palette.png")
    assert picture[:, 0, 0].tolist() == [255] * 3
    assert picture[:, 3, 3].tolist() == [9] * 3


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_sixteen_bits_are_rounded_and_not_cut(tmp_path: Path, suffix: str) -> None:
    value = np.linspace(0, 65535, 8 * 64).round().astype(np.uint16).reshape(8, 64)
    Image.fromarray(value).save(tmp_path / f"deep.{suffix}")
    picture = read_picture(tmp_path / f"deep.{suffix}")
    expected = torch.from_numpy((value / 257).round().astype(np.uint8))
    assert torch.equal(picture, expected.expand(3, -1, -1))
    assert (picture.min(), picture.max()) == (0, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff"])
def test_the_cameras_note_is_obeyed(tmp_path: Path, suffix: str, orientation: int) -> None:
    """What is stored is the upright picture, turned the other way: it must come out upright."""
    upright = np.zeros((16, 24), np.uint8)
    upright[:8, :8] = 255  # one bright corner tells all eight cases apart
    undo = {
        1: lambda it: it,
        2: np.fliplr,
        3: lambda it: np.rot90(it, 2),
        4: np.flipud,
        5: np.transpose,
        6: lambda it: np.rot90(it, 1),
        7: lambda it: np.rot90(it.T, 2),
        8: lambda it: np.rot90(it, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation](upright)))
    stored.save(tmp_path / f"turned.{suffix}", exif=exif)
    picture = read_picture(tmp_path / f"turned.{suffix}")
    assert picture.shape == (3, 16, 24)
    assert ((picture[0] > 128).numpy() == (upright > 128)).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_note_that_cannot_be_read_turns_nothing(tmp_path: Path) -> None:
    two_halves().save(tmp_path / "odd.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert read_picture(tmp_path / "odd.jpg").shape == (3, 12, 20)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tiff"])
def test_the_first_of_moving_pictures_is_taken(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"film.{suffix}", save_all=True, append_images=frames[1:], **options)
    assert read_picture(tmp_path / f"film.{suffix}")[:, 4, 4].tolist() == list(RED)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "webp", "tiff"])
def test_a_file_cut_short_is_refused_by_name(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-1500])
    with pytest.raises(UserError, match=rf"picture .*cut\.{suffix} must be") as caught:
        read_picture(path)
    assert "save it anew" in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"just some text, no picture at all"]
)
def test_what_is_no_picture_is_refused_by_its_header(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "text.jpg").write_bytes(content)
    for read in (check_picture, read_picture):
        with pytest.raises(UserError, match=r"text\.jpg must be"):
            read(tmp_path / "text.jpg")


@pytest.mark.parametrize("size", [(7072, 7071), (12_000, 8_000), (60_000, 60_000)])
def test_a_bomb_is_refused_before_it_is_decoded(
    tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("it was decoded"))
    (tmp_path / "bomb.png").write_bytes(bare_png(*size))
    with pytest.raises(UserError, match=r"bomb\.png must be of at most 50 million pixels"):
        read_picture(tmp_path / "bomb.png")


@pytest.mark.filterwarnings("ignore")
def test_a_bomb_is_refused_too_where_warnings_are_not_errors(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(bare_png(12_000, 8_000))
    with pytest.raises(UserError, match="at most 50 million pixels; got '12000 x 8000'"):
        check_picture(tmp_path / "bomb.png")


def test_a_sliver_is_refused_and_eight_pixels_are_not(tmp_path: Path) -> None:
    Image.new("L", (7, 300)).save(tmp_path / "sliver.png")
    Image.new("L", (8, 300)).save(tmp_path / "narrow.png")
    with pytest.raises(UserError, match="at least 8 pixels high and wide; got '7 x 300'"):
        check_picture(tmp_path / "sliver.png")
    assert read_picture(tmp_path / "narrow.png").shape == (3, 300, 8)


def test_values_without_an_agreed_range_are_refused(tmp_path: Path) -> None:
    Image.new("F", (8, 8), 0.5).save(tmp_path / "float.tiff")
    Image.new("I", (8, 8), 70_000).save(tmp_path / "long.tiff")
    with pytest.raises(UserError, match=r"float\.tiff.*floating-point"):
        read_picture(tmp_path / "float.tiff")
    with pytest.raises(UserError, match=r"long\.tiff.*more than 16 bits"):
        read_picture(tmp_path / "long.tiff")


def test_postscript_is_no_picture_here(tmp_path: Path) -> None:
    two_halves().save(tmp_path / "drawing.eps")
    with pytest.raises(UserError, match="of a known kind"):
        check_picture(tmp_path / "drawing.eps")


def test_missing_files_and_folders_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="an existing file"):
        read_picture(tmp_path / "nowhere.png")
    with pytest.raises(UserError, match="a readable file; got 'Is a directory'"):
        read_picture(tmp_path)


def test_a_missing_pillow_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    with pytest.raises(MissingExtraError, match=r'PIL is needed .*pip install "multum\[vision\]"'):
        read_picture(tmp_path / "any.png")
