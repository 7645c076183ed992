"""Local value pruning: a query multiplies only the value rows that it looks at most.

The surprise: after the softmax most probabilities of a row are next to nothing, so that their value rows need not even
be fetched. The others are not raised to make up for it: the row simply sums to a little less than one. It is decided
anew for every query row and head, and nothing follows from it for the next layer.

What it saves are rows of V that are read. In generation, where one query reads the whole cache, that is time. In an
encoder every value row is wanted by some query, the product of all rows is one dense matrix product, and choosing costs
more than it spares: there it is a model of what an accelerator saves, not a way to go faster (the page
`docs/attention/value_pruning.md` has the numbers).

Shape legend: B sentences, H heads, Q query rows, K keys.

Source: SpAtten (HPCA 2021), section III-C.
Differs from the paper: which does not say how equal probabilities are decided; here for the earlier key.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from multum.attention.head_schedule import ValueSchedule


def value_counts(schedule: ValueSchedule, layer: int, num_keys_B: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
    """How many value rows each query of a sentence multiplies in `layer`, by the sentence's own number of keys.

    >>> value_counts(ValueSchedule(keep_ratios=(1.0, 0.3)), 1, torch.tensor([10, 4])).tolist()
    [3, 2]
    """
    counts = [schedule.num_values(layer, num_keys) for num_keys in num_keys_B.tolist()]
    return torch.tensor(counts, device=num_keys_B.device)


def keep_largest(prob_BHQK: Float[Tensor, "B H Q K"], count_B: Int[Tensor, " B"]) -> Float[Tensor, "B H Q K"]:
    """Set all but the `count` largest probabilities of every row to zero; the rest, and what is no number, stays.

    >>> keep_largest(torch.tensor([[[[0.5, 0.1, 0.3, 0.1]]]]), torch.tensor([3]))
    tensor([[[[0.5000, 0.1000, 0.3000, 0.0000]]]])
    """
    largest_BHQk = prob_BHQK.detach().topk(int(count_B.max()), dim=-1).values
    last_B111 = (count_B - 1)[:, None, None, None].expand(*largest_BHQk.shape[:-1], 1)
    least_BHQ1 = largest_BHQk.gather(-1, last_B111)
    above_BHQK = prob_BHQK > least_BHQ1
    equal_BHQK = prob_BHQK == least_BHQ1
    places_BHQ1 = count_B[:, None, None, None] - above_BHQK.sum(dim=-1, keepdim=True)
    kept_BHQK = above_BHQK | (equal_BHQK & (equal_BHQK.cumsum(dim=-1) <= places_BHQ1))
    return prob_BHQK.where(kept_BHQK | prob_BHQK.isnan(), 0.0)  # comparisons would hide a NaN
