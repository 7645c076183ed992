"""MAC formulas for operations that torch's own FLOP counter does not know, or counts wrongly.

Every formula gets the arguments of the operation as they came, and its result as `out_val` (torch's own convention
for raw formulas). One multiply-accumulate is one product that is added to a sum: a matrix product of (m, k) and
(k, n) costs m * k * n of them.

Three things are worth knowing:

- *Attention* is counted in full also when it is causal, as torch does: half of the scores are thrown away, but dense
  kernels compute most of them, and two attention variants stay comparable.
- *Backward of attention* recomputes the scores: five products where the forward pass has two.
- *Backward of a grouped convolution* is counted by torch without its groups (a depthwise layer with 512 channels
  comes out 512 times too large); here each wanted gradient costs what the forward pass costs.

Shape legend: B batch, H heads, Q queries, K keys, D width of one head, T tokens, E embedding width.
"""

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any, Final, NamedTuple

import torch

import multum.ops.decode_attention  # registers the operation that has a formula here
import multum.ops.importance_attention  # noqa: F401 - likewise


class MacCount(NamedTuple):
    """MACs of one operation, with the part that multiplies activations with activations."""

    total: int
    attention: int = 0


MacFormula = Callable[..., int | MacCount]
"""A function of an operation's arguments and `out_val`, its result."""


def scaled_dot_product(
    query_BHQD: torch.Tensor, key_BHKD: torch.Tensor, value_BHKD: torch.Tensor, *_: Any, **__: Any
) -> MacCount:
    """Count scores and weighted values; grouped-query attention costs what its queries ask for."""
    width = query_BHQD.shape[-1] + value_BHKD.shape[-1]
    macs = prod(query_BHQD.shape[:-1]) * key_BHKD.shape[-2] * width
    return MacCount(macs, macs)


def scaled_dot_product_backward(
    _grad_BHQD: torch.Tensor,
    query_BHQD: torch.Tensor,
    key_BHKD: torch.Tensor,
    value_BHKD: torch.Tensor,
    *_: Any,
    **__: Any,
) -> MacCount:
    """Count the five products of the backward pass: the scores again, and gradients of scores, value, query, key."""
    width = 3 * query_BHQD.shape[-1] + 2 * value_BHKD.shape[-1]
    macs = prod(query_BHQD.shape[:-1]) * key_BHKD.shape[-2] * width
    return MacCount(macs, macs)


def importance_attention(query_BHQD: torch.Tensor, key_BGKD: torch.Tensor, *_: Any, **__: Any) -> MacCount:
    """Count scores and weighted values in full, also of a causal pass, as of every other attention."""
    return scaled_dot_product(query_BHQD, key_BGKD, key_BGKD)


def decode_attention(
    query_BHD: torch.Tensor, *args: Any, out_val: Sequence[torch.Tensor], **__: Any
) -> MacCount:
    """Count the key and value rows in use, and the scores of rows that are computed once more with the second plane."""
    count_B, num_values_B, threshold, flat_BH = args[8], args[10], args[11], out_val[2]
    values_B = count_B if num_values_B is None else torch.minimum(num_values_B, count_B)
    rows = query_BHD.shape[1] * int((count_B + values_B).sum())
    if threshold < 1.0:  # at 1 both planes are read at once
        rows += int((flat_BH.sum(dim=1) * count_B).sum())
    return MacCount(rows * query_BHD.shape[2], rows * query_BHD.shape[2])


def convolution_backward(
    grad_out: torch.Tensor,
    input_: torch.Tensor,
    weight: torch.Tensor,
    _bias_sizes: object,
    _stride: object,
    _padding: object,
    _dilation: object,
    transposed: bool,
    _output_padding: object,
    _groups: int,
    output_mask: Sequence[bool],
    **__: Any,
) -> int:
    """Count the gradients that are wanted, of the input and of the weight; each costs what the forward pass costs."""
    positions = (input_ if transposed else grad_out).shape[2:]
    forward = input_.shape[0] * prod(positions) * weight.numel()
    return forward * (int(output_mask[0]) + int(output_mask[1]))


def rows_times_columns(left: torch.Tensor, *_: Any, out_val: torch.Tensor, **__: Any) -> int:
    """Count a product of the rows of the first argument with a matrix, however that matrix is packed."""
    return left.numel() * out_val.shape[-1]


def added_product(_bias: torch.Tensor, left: torch.Tensor, right: torch.Tensor, *_: Any, **__: Any) -> int:
    """Count `bias + left @ right`, also in batches."""
    return left.numel() * right.shape[-1]


def matrix_times_vector(matrix: torch.Tensor, *_: Any, **__: Any) -> int:
    """Count `matrix @ vector`, and the inner product of two vectors."""
    return matrix.numel()


def added_matrix_times_vector(_bias: torch.Tensor, matrix: torch.Tensor, *_: Any, **__: Any) -> int:
    """Count `bias + matrix @ vector`."""
    return matrix.numel()


def grouped_product(left: torch.Tensor, right: torch.Tensor, *_: Any, **__: Any) -> int:
    """Count a product in which every group of rows (or columns) meets its own matrix."""
    rows = left.numel() // left.shape[0] if left.dim() == 3 and right.dim() == 2 else left.numel()
    return rows * right.shape[-1]


def packed_convolution(
    _input: torch.Tensor, weight: torch.Tensor, *_: Any, out_val: torch.Tensor, **__: Any
) -> int:
    """Count a convolution by its output: each element sums over one filter."""
    return out_val.numel() * prod(weight.shape[1:])


def distances(left: torch.Tensor, _right: torch.Tensor, *_: Any, out_val: torch.Tensor, **__: Any) -> int:
    """Count all pairwise distances: one product per pair and coordinate."""
    return out_val.numel() * left.shape[-1]


def trilinear(
    first: torch.Tensor,
    second: torch.Tensor,
    third: torch.Tensor,
    expand_first: Sequence[int],
    expand_second: Sequence[int],
    expand_third: Sequence[int],
    *_: Any,
    **__: Any,
) -> int:
    """Count the product of three tensors (a bilinear layer) by the size of the space it runs over."""
    shapes = []
    for tensor, expanded in ((first, expand_first), (second, expand_second), (third, expand_third)):
        shape = list(tensor.shape)
        for dim in sorted(expanded):
            shape.insert(dim, 1)
        shapes.append(shape)
    return prod(torch.broadcast_shapes(*shapes))


def recurrent_layer(
    input_TBE: torch.Tensor, weight_input: torch.Tensor, weight_hidden: torch.Tensor, *_: Any, **__: Any
) -> int:
    """Count one recurrent layer: at every step each weight is used once."""
    return prod(input_TBE.shape[:-1]) * (weight_input.numel() + weight_hidden.numel())


def recurrent_layer_backward(*args: Any, **kwargs: Any) -> int:
    """Count gradients of input and weights of one recurrent layer."""
    return 2 * recurrent_layer(*args, **kwargs)


def recurrent_stack(input_TBE: torch.Tensor, weights: Sequence[torch.Tensor], *_: Any, **__: Any) -> int:
    """Count a stack of recurrent layers; biases are vectors and no products."""
    return prod(input_TBE.shape[:-1]) * sum(weight.numel() for weight in weights if weight.dim() > 1)


def recurrent_stack_backward(*args: Any, **kwargs: Any) -> int:
    """Count gradients of input and weights of a stack of recurrent layers."""
    return 2 * recurrent_stack(*args, **kwargs)


def multi_head_attention(
    query_BTE: torch.Tensor,
    key_BTE: torch.Tensor,
    _value_BTE: torch.Tensor,
    width: int,
    _num_heads: int,
    qkv_weight: torch.Tensor,
    _qkv_bias: object,
    proj_weight: torch.Tensor,
    *_: Any,
    **__: Any,
) -> MacCount:
    """Count torch's fused multi-head attention: four linear maps, scores, weighted values."""
    num_queries = prod(query_BTE.shape[:-1])
    attention = 2 * num_queries * key_BTE.shape[-2] * width
    return MacCount(num_queries * (qkv_weight.numel() + proj_weight.numel()) + attention, attention)


def encoder_layer(source_BTE: torch.Tensor, width: int, *rest: Any, **__: Any) -> MacCount:
    """Count torch's fused encoder layer: every weight matrix meets every token, and attention comes on top.

    The tokens of a batch may lie in a nested tensor, each text with its own length.
    """
    nested = source_BTE.is_nested
    lengths = source_BTE._nested_tensor_size()[:, 0].tolist() if nested else [source_BTE.shape[-2]]
    texts = 1 if nested else prod(source_BTE.shape[:-2])
    attention = 2 * texts * sum(length * length for length in lengths) * width
    weights = sum(part.numel() for part in rest[:16] if isinstance(part, torch.Tensor) and part.dim() == 2)
    return MacCount(texts * sum(lengths) * weights + attention, attention)


_FORMULAS: Final[tuple[tuple[str, MacFormula], ...]] = (
    ("aten._scaled_dot_product_flash_attention_for_cpu", scaled_dot_product),
    ("aten._scaled_dot_product_flash_attention_for_cpu_backward", scaled_dot_product_backward),
    ("aten._scaled_dot_product_fused_attention_overrideable", scaled_dot_product),
    ("aten._scaled_dot_product_fused_attention_overrideable_backward", scaled_dot_product_backward),
    ("multum.importance_attention", importance_attention),
    ("multum.decode_attention", decode_attention),
    ("aten._native_multi_head_attention", multi_head_attention),
    ("aten._transformer_encoder_layer_fwd", encoder_layer),
    ("aten.convolution_backward", convolution_backward),
    ("aten.linear", rows_times_columns),
    ("aten.mkldnn_linear", rows_times_columns),
    ("aten._int_mm", rows_times_columns),
    ("aten._weight_int8pack_mm", rows_times_columns),
    ("aten._weight_int4pack_mm", rows_times_columns),
    ("aten._weight_int4pack_mm_for_cpu", rows_times_columns),
    ("aten._addmm_activation", added_product),
    ("aten.addbmm", added_product),
    ("aten.mv", matrix_times_vector),
    ("aten.dot", matrix_times_vector),
    ("aten.vdot", matrix_times_vector),
    ("aten.addmv", added_matrix_times_vector),
    ("aten._grouped_mm", grouped_product),
    ("aten._scaled_grouped_mm", grouped_product),
    ("aten._trilinear", trilinear),
    ("aten._cdist_forward", distances),
    ("aten._euclidean_dist", distances),
    ("aten.mkldnn_rnn_layer", recurrent_layer),
    ("aten.mkldnn_rnn_layer_backward", recurrent_layer_backward),
    ("aten._cudnn_rnn", recurrent_stack),
    ("aten._cudnn_rnn_backward", recurrent_stack_backward),
    ("mkldnn._linear_pointwise", rows_times_columns),
    ("mkldnn._convolution_pointwise", packed_convolution),
)


def own_formulas() -> Iterator[tuple[Any, MacFormula]]:
    """Pair every operation that this build of torch has with its formula."""
    for name, formula in _FORMULAS:
        namespace, _, operation = name.partition(".")
        packet = getattr(getattr(torch.ops, namespace), operation, None)
        if packet is not None:
            yield packet, formula
