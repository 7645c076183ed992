"""A delta turns its base into the tuned model, nothing else into anything, and is small."""

from pathlib import Path

import pytest
import torch
from torch import nn

from multum.attention import Delta, load_delta, make_delta, merge, merged, save_delta
from multum.attention.delta import changed_names
from multum.core import UserError
from multum.training import hash_tensors, write_tensor_file

OUTPUTS, INPUTS = 24, 40


class Network(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.matrix = nn.Parameter(
            torch.randn(OUTPUTS, INPUTS, generator=torch.Generator().manual_seed(seed))
        )
        self.bias = nn.Parameter(torch.zeros(OUTPUTS))
        self.untouched = nn.Parameter(torch.ones(3))
        self.register_buffer("count", torch.tensor(4))


def tuned(rank: int = 3) -> Network:
    """The same network a little further, the matrix by a difference of a known rank."""
    network = Network()
    generator = torch.Generator().manual_seed(9)
    left = torch.randn(OUTPUTS, rank, generator=generator)
    with torch.no_grad():
        network.matrix += 0.01 * left @ torch.randn(rank, INPUTS, generator=generator)
        network.bias += 0.1 * torch.randn(OUTPUTS, generator=generator)
        network.count += 1
    return network


def delta_of(**options: object) -> Delta:
    return make_delta(Network().state_dict(), tuned().state_dict(), **options)


def test_an_exact_delta_gives_the_tuned_model_bit_for_bit() -> None:
    model = Network()
    merge(model, delta_of(precision="exact"))
    for name, tensor in tuned().state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"precision": "bfloat16"}, 2.0**-8),
        ({"precision": "int8"}, 0.51 / 127),
        ({"precision": "int8", "rank": 3}, 0.02),
        ({"precision": "bfloat16", "rank": 5}, 0.02),
    ],
    ids=str,
)
def test_a_compressed_delta_is_as_close_as_its_precision(options: dict[str, object], allowed: float) -> None:
    model, base, wanted = Network(), Network(), tuned()
    merge(model, delta_of(**options))
    for name in ("matrix", "bias"):
        difference = getattr(wanted, name) - getattr(base, name)
        error = (getattr(model, name) - getattr(wanted, name)).abs().max()
        assert error <= allowed * difference.abs().max() + 1e-7, name
    assert model.count == 5


def test_only_what_changed_is_kept() -> None:
    assert changed_names(delta_of()) == ["bias", "count", "matrix"]
    same = make_delta(Network().state_dict(), Network().state_dict())
    assert same.num_bytes == 0


def test_fewer_bits_and_a_lower_rank_are_smaller() -> None:
    sizes = [
        delta_of(precision=precision, rank=rank).num_bytes
        for precision, rank in (("exact", None), ("bfloat16", None), ("int8", None), ("int8", 3))
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0] / 4


def test_a_rank_that_would_be_larger_than_the_matrix_is_not_used() -> None:
    assert delta_of(rank=OUTPUTS).stored.keys() == delta_of().stored.keys()


def test_another_model_and_a_second_merge_are_refused() -> None:
    delta = delta_of()
    with pytest.raises(UserError, match="the one that the delta was made for"):
        merge(Network(seed=1), delta)
    model = Network()
    merge(model, delta)
    with pytest.raises(UserError, match="load the base model afresh"):
        merge(model, delta)


def test_after_a_block_the_model_is_its_base_again_errors_included() -> None:
    model = Network()
    before = hash_tensors(model.state_dict())

    def fail_inside() -> None:
        with merged(model, delta_of(precision="int8")):
            assert hash_tensors(model.state_dict()) != before
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert hash_tensors(model.state_dict()) == before


@pytest.mark.parametrize("options", [{"precision": "exact"}, {"precision": "int8"}, {"rank": 2}], ids=str)
def test_a_delta_comes_back_from_its_file(tmp_path: Path, options: dict[str, object]) -> None:
    delta = delta_of(**options, added={"head.weight": torch.ones(2, 3)})
    path = save_delta(delta, tmp_path)
    again = load_delta(tmp_path)
    assert (again.base, again.precision, again.num_bytes) == (delta.base, delta.precision, delta.num_bytes)
    assert torch.equal(again.added["head.weight"], torch.ones(2, 3))
    models = Network(), Network()
    for model, it in zip(models, (delta, again), strict=True):
        merge(model, it)
    assert torch.equal(models[0].matrix, models[1].matrix)
    assert path.stat().st_size < delta.num_bytes + 2000


def test_a_half_precision_base_stays_one() -> None:
    base, after = Network().bfloat16(), tuned().bfloat16()
    delta = make_delta(base.state_dict(), after.state_dict(), precision="int8")
    merge(base, delta)
    assert base.matrix.dtype is torch.bfloat16
    assert (base.matrix - after.matrix).abs().max() < 0.02


def test_the_hash_sees_name_type_shape_and_value() -> None:
    tensor = torch.zeros(4)
    others = [{"b": tensor}, {"a": tensor.double()}, {"a": tensor.view(2, 2)}, {"a": tensor + 1}, {}]
    hashes = {hash_tensors(it) for it in [{"a": tensor}, *others]}
    assert len(hashes) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "exact", "rank": 2}, "rank must be at least 1, and with differences only"),
        ({"rank": 0}, "rank must be"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        delta_of(**options)


def test_states_of_two_models_are_refused() -> None:
    with pytest.raises(UserError, match="tuned must be a state of the same model"):
        make_delta({"a": torch.ones(1)}, {"b": torch.ones(1)})
    with pytest.raises(UserError, match=r"tuned a must be of shape \(1,\)"):
        make_delta({"a": torch.ones(1)}, {"a": torch.ones(2)})


def test_a_missing_or_foreign_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_delta(tmp_path)
    write_tensor_file(tmp_path / "multum_delta.safetensors", {}, {}, schema="other/1")
    with pytest.raises(UserError, match="schema"):
        load_delta(tmp_path)


@pytest.mark.parametrize("precision", ["exact", "bfloat16", "int8"])
def test_what_is_not_finite_is_not_saved(precision: str) -> None:
    base = {"weight": torch.zeros(3, 4)}
    tuned = {"weight": torch.full((3, 4), torch.nan)}
    with pytest.raises(UserError, match="tuned weight must be finite; got 'NaN or infinity'"):
        make_delta(base, tuned, precision=precision)
