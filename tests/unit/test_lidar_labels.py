"""Label files of all three kinds are read as they are; others are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from multum.core import UserError
from multum.pointcloud.lidar import read_labels
from small_scans import write


def test_the_upper_half_of_a_number_is_the_object_and_not_the_class(tmp_path: Path) -> None:
    write(tmp_path / "0.label", np.array([259 + (65535 << 16), 0, 10 + (1 << 16)], dtype="<u4"))
    label_N = read_labels(tmp_path / "0.label")
    assert label_N.tolist() == [259, 0, 10]
    assert label_N.dtype is torch.int64


def test_bytes_are_numbers_up_to_255(tmp_path: Path) -> None:
    write(tmp_path / "0_lidarseg.bin", np.array([0, 31, 255], dtype=np.uint8))
    assert read_labels(tmp_path / "0_lidarseg.bin").tolist() == [0, 31, 255]


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, ">i4"])
def test_arrays_of_integers_keep_their_sign(tmp_path: Path, dtype: np.dtype | type | str) -> None:
    np.save(tmp_path / "0.npy", np.array([0, 5, 100]).astype(dtype))
    assert read_labels(tmp_path / "0.npy").tolist() == [0, 5, 100]
    np.save(tmp_path / "0.npy", np.array([-1, 2], dtype=np.int16))
    assert read_labels(tmp_path / "0.npy").tolist() == [-1, 2]


def test_what_is_no_row_of_integers_is_refused(tmp_path: Path) -> None:
    for wrong in (np.zeros((3, 1), dtype=np.int64), np.zeros(3)):
        np.save(tmp_path / "0.npy", wrong)
        with pytest.raises(UserError, match="a row of integers, one for each point; got 'shape"):
            read_labels(tmp_path / "0.npy")
    (tmp_path / "0.label").write_bytes(b"12345")
    with pytest.raises(UserError, match=r"0\.label must be a multiple of 4 bytes; got 5"):
        read_labels(tmp_path / "0.label")
    with pytest.raises(UserError, match=r"of a known kind \(\.label, \.npy, \.bin\); got '\.txt'"):
        read_labels(tmp_path / "0.txt")
    with pytest.raises(UserError, match="an existing, readable file"):
        read_labels(tmp_path / "none.label")
