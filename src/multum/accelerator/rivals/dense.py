"""The same run without pruning and without quantization: what rivals read, and speed-ups are counted from."""

import numpy as np

from multum.accelerator.workload import Workload
from multum.accelerator.workload_columns import UNSET
from multum.core import invalid


def dense_workload(workload: Workload, *, num_heads: int | None = None) -> Workload:
    """Undo what pruning and quantization did to a workload.

    Every head of every layer fetches all keys and values of its sentence in float32, nothing is added up or chosen. An
    iteration in which any row has more than one query reads a sentence (a prompt, or an encoder's forward): there each
    token is a query; in the others one token is generated.

    Args:
        workload: Pruned or not; the dense workload of a dense workload is itself.
        num_heads: Heads of a layer; None: as many as the layer has that computes most.

    Raises:
        UserError: Fewer heads than some layer computes.

    >>> pruned = Workload.from_counts(keys=[[993, 900]], heads=[[16, 10]], values=[[300, 270]], key_bits=8)
    >>> dense = dense_workload(pruned)
    >>> len(dense), dense.key_rows == dense.value_rows == 2 * 16 * 993, dense.key_bytes == dense.key_rows * 256
    (32, True, True)
    """
    layers_R = np.stack([workload.iteration_id, workload.layer_id], axis=1)
    layers, first, counts = np.unique(layers_R, axis=0, return_index=True, return_counts=True)
    most = int(counts.max())
    heads = most if num_heads is None else num_heads
    if heads < most:
        raise invalid("num_heads", f"at least {most}, what a layer computes", num_heads)
    reads_sentence = np.unique(workload.iteration_id[workload.num_queries > 1])
    length = workload.sentence_length_L[first]
    size = len(layers) * heads
    length_R = np.repeat(length, heads)
    unset, off = np.full(size, UNSET), np.zeros(size, dtype=np.bool_)
    return Workload(
        iteration_id=np.repeat(layers[:, 0], heads),
        layer_id=np.repeat(layers[:, 1], heads),
        head_id=np.tile(np.arange(heads), len(layers)),
        embedding_length_D=np.repeat(workload.embedding_length_D[first], heads),
        sentence_length_L=length_R,
        key_fetch_num=length_R,
        quant_key_bit=unset,
        quant_query_bit=unset,
        auto_requant_thres=unset.astype(np.float64),
        if_requant=off,
        auto_requant_incre=unset,
        value_fetch_num=length_R,
        quant_value_bit=unset,
        if_accumulate_importance=off,
        if_rescale_previous_importance=off,
        if_topk=off,
        topk=unset,
        num_queries=np.repeat(np.where(np.isin(layers[:, 0], reads_sentence), length, 1), heads),
    )
