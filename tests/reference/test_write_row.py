"""The compiled writer of one row against the definition in plain torch: the same bits, everywhere."""

from dataclasses import replace

import pytest
import torch

from multum.core import UserError
from multum.ops.bit_planes import PlaneRows, RowFrame, cpu

pytestmark = pytest.mark.skipif(cpu.library() is None, reason="there is no compiler here")


def planes(rows: PlaneRows) -> list[torch.Tensor]:
    return [t for t in (rows.msb, rows.lsb, rows.scale) if t is not None]


@pytest.mark.parametrize("msb_bits", [4, 6, 8, 10, 12])
@pytest.mark.parametrize("two_planes", [True, False])
@pytest.mark.parametrize("width", [4, 20, 64, 80])
def test_written_rows_are_those_of_the_definition(msb_bits: int, two_planes: bool, width: int) -> None:
    size = 10.0 ** torch.randint(-9, 4, (3, 2, 1))
    new = torch.randn(3, 2, width) * size
    new[0, 0] = 0.0
    new[1, 1, 0] = 1e-7  # a scale below the least normal float16
    new[1, 1, 1:] = 0.0
    rows = PlaneRows.zeros((3, 2, 5), width, msb_bits, two_planes=two_planes)
    untouched = [t.clone() for t in planes(rows)]
    slot = torch.tensor([4, 0, 2])
    assert cpu.write_row(rows, slot, new)
    expected = planes(PlaneRows.quantize(new, msb_bits, two_planes=two_planes))
    for got, before, wanted in zip(planes(rows), untouched, expected, strict=True):
        assert torch.equal(got[torch.arange(3), :, slot], wanted)
        got[torch.arange(3), :, slot] = 0
        assert torch.equal(got, before)


@pytest.mark.parametrize("width", [4, 20, 64, 80])
@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("centred", [True, False])
def test_rows_are_centred_and_turned_before_they_are_rounded(width: int, turned: bool, centred: bool) -> None:
    new, mean = torch.randn(3, 2, width), torch.randn(3, 2, 1, width).bfloat16()
    frame = RowFrame(mean_BG1D=mean if centred else None, turned=turned)
    rows, slot = PlaneRows.zeros((3, 2, 5), width, 8), torch.tensor([4, 0, 2])
    assert cpu.write_row(rows, slot, new, frame)
    written = rows.dequantize()[torch.arange(3), :, slot]
    expected = frame.into(new[:, :, None])[:, :, 0]
    step = rows.scale[torch.arange(3), :, slot].float().unsqueeze(-1)
    assert bool(((written - expected).abs() <= 0.5001 * step + 1e-5).all())
    torch.testing.assert_close(frame.out_of(written[:, :, None])[:, :, 0], new, rtol=0, atol=0.02)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_strided_rows_are_written_too(dtype: torch.dtype) -> None:
    whole = PlaneRows.zeros((2, 3, 8), 16, 8)
    rows = replace(whole, msb=whole.msb[:, :, 3:], scale=whole.scale[:, :, 3:], lsb=whole.lsb[:, :, 3:])
    new = torch.randn(2, 16, 3).to(dtype).transpose(1, 2)
    assert cpu.write_row(rows, torch.tensor([1, 3]), new)
    expected = PlaneRows.quantize(new, 8)
    assert torch.equal(rows.select(torch.tensor([1])).msb[0, :, 0], expected.msb[0])
    assert torch.equal(rows.select(torch.tensor([3])).scale[1, :, 0], expected.scale[1])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 3e38])
def test_rows_that_cannot_be_rounded_are_refused_in_words(bad: float) -> None:
    rows, new = PlaneRows.zeros((1, 1, 2), 8, 4, two_planes=False), torch.ones(1, 1, 8)
    new[0, 0, 3] = bad
    with pytest.raises(UserError, match="finite, and at most"):
        rows.write(torch.tensor([0]), new)


def test_a_slot_out_of_range_is_refused() -> None:
    rows = PlaneRows.zeros((2, 1, 2), 8, 4)
    with pytest.raises(UserError, match=r"in 0\.\.1; got \[0, 2\]"):
        rows.write(torch.tensor([0, 2]), torch.ones(2, 1, 8))


def test_other_tensors_are_left_to_the_definition() -> None:
    rows = PlaneRows.zeros((1, 1, 2), 8, 4)
    assert not cpu.write_row(rows, torch.tensor([0]), torch.ones(1, 1, 8, dtype=torch.float64))
    rows.write(torch.tensor([1]), torch.ones(1, 1, 8, dtype=torch.float64))
    assert torch.equal(rows.msb[0, 0, 1], PlaneRows.quantize(torch.ones(1, 8), 4).msb[0])


def test_every_second_slot_is_left_to_the_definition() -> None:
    whole = PlaneRows.zeros((1, 3, 8), 16, 8)
    rows = replace(whole, msb=whole.msb[:, :, ::2], scale=whole.scale[:, :, ::2], lsb=whole.lsb[:, :, ::2])
    new = torch.randn(1, 3, 16)
    assert not cpu.write_row(rows, torch.tensor([1]), new)
    rows.write(torch.tensor([1]), new)
    assert torch.equal(whole.msb[0, :, 2], PlaneRows.quantize(new, 8).msb[0])
    assert not whole.msb[0, :, 1].any()
