"""Rounding to integers, cutting them into planes and packing them into bytes lose what they say and no more."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from multum.core import UserError
from multum.ops.bit_planes import (
    FloatRows,
    PlaneRows,
    cpu,
    hadamard,
    join,
    pack,
    quantize_rows,
    row_bytes,
    split,
    unpack,
)

SETTINGS = (4, 6, 8, 10, 12)
WIDTHS = (4, 20, 64, 80, 96, 128)
SUBNORMAL = 2.0**-126
"""Below this a float32 is subnormal, and some libraries switch the processor to take such numbers for zero."""

rows_of_numbers = arrays.arrays(
    "float32",
    st.tuples(st.integers(1, 4), st.sampled_from(WIDTHS)),
    elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False)
    | st.sampled_from([0.0, 1e-30, 1e-7, 65504.0]),
).map(torch.from_numpy)


@given(rows=rows_of_numbers, bits=st.integers(2, 16))
def test_rounding_is_off_by_half_a_scale_at_most(rows: torch.Tensor, bits: int) -> None:
    q, scale = quantize_rows(rows, bits)
    assert -(2 ** (bits - 1)) <= q.min()
    assert q.max() <= 2 ** (bits - 1) - 1
    error = (q.double() * scale.double()[:, None] - rows.double()).abs()
    assert (error <= 0.5 * scale.double()[:, None] * (1 + 1e-6) + SUBNORMAL).all()


@given(rows=rows_of_numbers, bits=st.sampled_from(SETTINGS))
def test_scale_is_the_least_that_clips_nothing(rows: torch.Tensor, bits: int) -> None:
    _, scale = quantize_rows(rows, bits)
    needed = rows.abs().amax(dim=1).double() / (2 ** (bits - 1) - 1)
    assert (scale.double() >= needed * (1 - 1e-7) - SUBNORMAL).all()
    assert (scale.double() <= needed * (1 + 2**-10) + 2**-24).all()


@given(rows=rows_of_numbers, bits=st.sampled_from(SETTINGS))
def test_planes_lose_half_a_step_with_lsbs_and_half_a_step_of_msbs_without(
    rows: torch.Tensor, bits: int
) -> None:
    planes = PlaneRows.quantize(rows, bits)
    scale = planes.scale.double()[:, None] * (1 + 1e-6)
    exact, middle = (planes.dequantize(use_lsb, torch.float64) for use_lsb in (True, False))
    assert ((exact - rows).abs() <= 0.5 * scale + SUBNORMAL).all()
    assert ((middle - rows).abs() <= 8.5 * scale + SUBNORMAL).all()
    single = PlaneRows.quantize(rows, bits, two_planes=False)
    half = 0.5 * single.scale.double()[:, None] * (1 + 1e-6) + SUBNORMAL
    assert ((single.dequantize(dtype=torch.float64) - rows).abs() <= half).all()


@given(data=st.data(), bits=st.sampled_from(SETTINGS), width=st.sampled_from(WIDTHS))
def test_packing_and_unpacking_give_back_every_integer(data: st.DataObject, bits: int, width: int) -> None:
    for signed in (True, False):
        low = -(2 ** (bits - 1)) if signed else 0
        numbers = st.integers(low, low + 2**bits - 1)
        values = torch.from_numpy(data.draw(arrays.arrays("int16", (3, width), elements=numbers)))
        packed = pack(values, bits)
        assert packed.shape == (3, row_bytes(bits, width))
        assert torch.equal(unpack(packed, bits, width, signed=signed), values)


@given(values=arrays.arrays("int16", (5,)).map(torch.from_numpy), lsb_bits=st.integers(1, 8))
def test_halves_join_to_the_whole(values: torch.Tensor, lsb_bits: int) -> None:
    msb, lsb = split(values, lsb_bits)
    assert lsb.min() >= 0
    assert lsb.max() < 2**lsb_bits
    assert torch.equal(join(msb.int(), lsb.int(), lsb_bits), values.int())
    assert ((join(msb.int(), None, lsb_bits) - values.int()).abs() <= 2 ** (lsb_bits - 1)).all()


@pytest.mark.parametrize("bits", SETTINGS)
def test_packed_rows_have_the_bits_they_say(bits: int) -> None:
    planes = PlaneRows.quantize(torch.randn(2, 3, 5, 64), bits)
    assert planes.msb.shape == (2, 3, 5, 8 * bits)
    assert planes.num_rows == 30
    assert planes.num_bytes == 30 * (8 * bits + 32 + 2)
    assert planes.bytes_per_row(use_lsb=False) == 8 * bits + 2


def test_rows_of_zeros_stay_zero_in_both_planes() -> None:
    planes = PlaneRows.quantize(torch.zeros(3, 8), 4)
    for use_lsb in (True, False):
        assert not planes.dequantize(use_lsb).any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_are_rounded_as_their_numbers_are(dtype: torch.dtype) -> None:
    rows = torch.randn(4, 32).to(dtype)
    for found, wide in zip(quantize_rows(rows, 8), quantize_rows(rows.double(), 8), strict=True):
        assert torch.equal(found, wide)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf, 3e38])
def test_numbers_without_a_scale_are_refused(poison: float) -> None:
    rows = torch.randn(3, 8)
    rows[1, 2] = poison
    with pytest.raises(UserError, match=r"rows must be finite, and at most 8.32e\+06"):
        quantize_rows(rows, 8)
    planes = PlaneRows.zeros((1, 3, 5), 8, 8)
    with pytest.raises(UserError, match="rows must be finite"):
        planes.write(torch.tensor([2]), rows[None])


@pytest.mark.parametrize("bits", [1, 17])
def test_bits_out_of_range_are_refused(bits: int) -> None:
    with pytest.raises(UserError, match=rf"bits must be in 2\.\.16; got {bits}"):
        quantize_rows(torch.randn(3, 8), bits)


def test_widths_and_bits_that_do_not_fill_bytes_are_refused() -> None:
    with pytest.raises(UserError, match="the width of a row must be a multiple of 4; got 10"):
        PlaneRows.quantize(torch.randn(3, 10), 8)
    with pytest.raises(UserError, match=r"bits must be one of \(4, 6, 8, 10, 12\); got 5"):
        PlaneRows.quantize(torch.randn(3, 8), 5)
    with pytest.raises(UserError, match="packed must be rows of 8 bytes; got 7"):
        unpack(torch.zeros(7, dtype=torch.uint8), 8, 8)


@pytest.mark.usefixtures("as_shipped")
def test_planes_of_other_shapes_are_refused() -> None:
    good = PlaneRows.quantize(torch.randn(3, 8), 8)
    with pytest.raises(UserError, match="the planes must be of shapes"):
        PlaneRows(msb=good.msb[:2], lsb=good.lsb, scale=good.scale, msb_bits=8, width=8)
    with pytest.raises(UserError, match="the planes must be of shapes"):
        PlaneRows(msb=good.msb, lsb=good.lsb, scale=good.scale, msb_bits=10, width=8)


@pytest.mark.parametrize("kind", ["planes", "floats"])
def test_selected_rows_are_the_rows(kind: str) -> None:
    numbers = torch.randn(2, 3, 6, 8)
    rows = PlaneRows.quantize(numbers, 8) if kind == "planes" else FloatRows(rows=numbers)
    whole = rows.dequantize()
    assert torch.equal(rows.select(torch.tensor([4, 1])).dequantize(), whole[:, :, [4, 1]])
    index = torch.tensor([[0, 5], [3, 2]])
    chosen = rows.select(index[:, None]).dequantize()
    for b in range(2):
        assert torch.equal(chosen[b], whole[b][:, index[b]])


@pytest.mark.parametrize("two_planes", [True, False])
@pytest.mark.parametrize("bits", SETTINGS)
@pytest.mark.parametrize("width", WIDTHS)
def test_written_rows_are_what_quantizing_them_gives(width: int, bits: int, two_planes: bool) -> None:
    numbers = 10 ** torch.randn(2, 3, 6, width)
    numbers[0, 1] = 0.0
    numbers[1, 1, 2] = 1e-7
    expected = PlaneRows.quantize(numbers, bits, two_planes=two_planes)
    written = PlaneRows.zeros((2, 3, 6), width, bits, two_planes=two_planes)
    for step in range(6):
        slot = torch.tensor([step, 5 - step])
        written.write(slot, torch.stack([numbers[0, :, step], numbers[1, :, 5 - step]]))
    for name in ("msb", "lsb", "scale"):
        found, true = getattr(written, name), getattr(expected, name)
        assert found is true is None or torch.equal(found, true), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_written_floats_are_the_floats(dtype: torch.dtype) -> None:
    rows = FloatRows(rows=torch.zeros(2, 3, 4, 8, dtype=dtype))
    new = torch.randn(2, 3, 8)
    rows.write(torch.tensor([3, 0]), new)
    assert torch.equal(rows.rows[0, :, 3], new[0].to(dtype))
    assert torch.equal(rows.rows[1, :, 0], new[1].to(dtype))
    assert rows.rows.count_nonzero() == 48


def test_compiled_writing_equals_the_plain_one_in_views_and_half_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers, slot = torch.randn(2, 6, 64)[:, ::2], torch.tensor([4, 1])
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        found, plain = (PlaneRows.zeros((2, 3, 6), 64, 8) for _ in range(2))
        found.write(slot, numbers.to(dtype))
        with monkeypatch.context() as patch:
            patch.setattr(cpu, "write_row", lambda *_: False)
            plain.write(slot, numbers.to(dtype))
        assert torch.equal(found.msb, plain.msb)
        assert torch.equal(found.scale, plain.scale)
        assert found.lsb is not None
        assert plain.lsb is not None
        assert torch.equal(found.lsb, plain.lsb)


@pytest.mark.parametrize("slot", [-1, 5])
def test_slots_that_are_not_there_are_refused(slot: int) -> None:
    for rows in (PlaneRows.zeros((1, 2, 5), 8, 8), FloatRows(rows=torch.zeros(1, 2, 5, 8))):
        with pytest.raises(UserError, match=rf"slot must be in 0\.\.4; got .*{slot}"):
            rows.write(torch.tensor([slot]), torch.randn(1, 2, 8))


@pytest.mark.parametrize("width", [4, 16, 64, 80, 96, 128])
def test_hadamard_matrix_is_symmetric_and_orthonormal(width: int) -> None:
    matrix = hadamard(width, dtype=torch.float64)
    assert torch.equal(matrix, matrix.T)
    torch.testing.assert_close(matrix @ matrix, torch.eye(width, dtype=torch.float64))


def test_hadamard_matrix_spreads_an_outlier_over_all_channels() -> None:
    row = torch.zeros(64)
    row[17] = 8.0
    assert (row @ hadamard(64)).abs().tolist() == pytest.approx([1.0] * 64)


def test_rotation_makes_rounding_of_outliers_finer() -> None:
    rows = torch.randn(50, 64)
    rows[:, 7] *= 40
    turned = rows @ hadamard(64)
    plain = (PlaneRows.quantize(rows, 4, two_planes=False).dequantize() - rows).norm()
    better = (PlaneRows.quantize(turned, 4, two_planes=False).dequantize() - turned).norm()
    assert better < 0.6 * plain


@pytest.mark.parametrize("width", [0, -4, 6])
def test_hadamard_matrix_of_a_width_that_no_cache_has_is_refused(width: int) -> None:
    with pytest.raises(UserError, match="width must be a positive multiple of 4"):
        hadamard(width)
