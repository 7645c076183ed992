"""Blocks that keep their input alone, and compute the rest again when backward comes to them.

It pays where a mode keeps much: full fine-tuning keeps the input of every layer, and a block of an inverted residual
has six times as many numbers inside as at its border. Where a bit is kept of each number it saves little.

Source: Chen, Xu, Zhang and Guestrin, "Training deep nets with sublinear memory cost" (2016), section 4.
Differs from the paper: a segment is a block, whatever its size.
"""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from multum.core import invalid
from multum.transfer.trained_depth import block_paths


def recompute_blocks(model: nn.Module, blocks: Sequence[str] | None = None) -> tuple[str, ...]:
    """Let blocks keep their input alone, in place; names of parameters and outputs stay, gradients too.

    Nothing in a block may depend on chance or change the block, as dropout and norms of batches do.

    Args:
        model: Any network.
        blocks: Paths of its blocks; None: all of the kinds in `RESIDUAL_BLOCKS`, with the lite residuals
            beside them.

    Returns:
        Paths of the blocks.

    Raises:
        UserError: No block, or a path at which there is none.

    >>> net = nn.Sequential(nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2)))
    >>> recompute_blocks(net, ["0"])
    ('0',)
    """
    modules = dict(model.named_modules())
    wanted = list(blocks) if blocks is not None else list(block_paths(model))
    missing = [path for path in wanted if path not in modules]
    if missing or not wanted:
        raise invalid(
            "blocks", "paths of blocks of the model", missing or "none", "name them: blocks=['layer1.0', ...]"
        )
    for path in wanted:
        block = modules[path]
        if "forward" not in vars(block):
            block.forward = _Recomputed(block.forward)
    return tuple(wanted)


class _Recomputed:
    """A forward that autograd keeps nothing of but its input."""

    def __init__(self, forward: Any) -> None:
        self.forward = forward

    def __call__(self, *given: Any) -> Any:
        return checkpoint(self.forward, *given, use_reentrant=False, preserve_rng_state=False)
