"""Which slot of a full cache goes: the least important that nothing protects.

Shape legend: B sequences, C slots of the cache.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from multum.core import invalid
from multum.ops.decode_attention import cpu


def evict_lowest(
    importance_BC: Float[Tensor, "B C"], protected_BC: Bool[Tensor, "B C"] | None, count_B: Int[Tensor, " B"]
) -> Int[Tensor, " B"]:
    """Give for each sequence the slot with the least importance among its first `count` that are not protected.

    Args:
        importance_BC: Cumulative importance by slot.
        protected_BC: True for slots that must stay; None: no slot is protected.
        count_B: Slots in use.

    Returns:
        The slot; of equal ones the lower. -1 where every slot in use is protected, or none is in use.

    Raises:
        UserError: NaN among the importance of the slots in use.

    >>> evict_lowest(torch.tensor([[0.1, 0.3, 0.2]]), torch.tensor([[True, False, False]]), torch.tensor([3]))
    tensor([2])
    """
    if not cpu.takes_importance(importance_BC, protected_BC, count_B):
        return evict_lowest_reference(importance_BC, protected_BC, count_B)
    return cpu.evict_lowest_cpu(importance_BC, protected_BC, count_B)


def evict_lowest_reference(
    importance_BC: Float[Tensor, "B C"], protected_BC: Bool[Tensor, "B C"] | None, count_B: Int[Tensor, " B"]
) -> Int[Tensor, " B"]:
    """`evict_lowest` in plain torch."""
    num_slots = importance_BC.shape[1]
    if bool((count_B > num_slots).any()):
        raise invalid("count", f"in 0..{num_slots}", count_B)
    if num_slots == 0:
        return torch.full_like(count_B, -1, dtype=torch.int64)
    used_BC = torch.arange(importance_BC.shape[1], device=importance_BC.device) < count_B[:, None]
    if bool((importance_BC.isnan() & used_BC).any()):
        raise cpu.nan_importance()
    free_BC = used_BC if protected_BC is None else used_BC & ~protected_BC
    lowest_B1 = importance_BC.masked_fill(~free_BC, torch.inf).amin(dim=1, keepdim=True)
    first_B = ((importance_BC == lowest_B1) & free_BC).int().argmax(dim=1)
    return torch.where(free_BC.any(dim=1), first_B, -1)
