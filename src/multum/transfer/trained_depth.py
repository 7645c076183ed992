"""How deep training reaches: blocks of a network, and freezing all but the last of them.

Below the first parameter that trains nothing is kept for backward and nothing is computed in it, so that depth is the
one dial that saves memory and time in every mode.
"""

from torch import nn

from multum.core import invalid
from multum.transfer.lite_residual import RESIDUAL_BLOCKS, WithLite, is_residual_block


def block_paths(model: nn.Module) -> tuple[str, ...]:
    """Paths of a network's residual blocks, from the picture on; blocks in blocks do not count.

    Raises:
        UserError: It has none of the kinds in `RESIDUAL_BLOCKS`.

    >>> from multum.backbones import make_backbone
    >>> block_paths(make_backbone("resnet-18", 2))[-1]
    'blocks.7'
    """
    found: list[str] = []
    for path, module in model.named_modules():
        inside = any(path.startswith(f"{it}.") for it in found)
        if not inside and (isinstance(module, WithLite) or is_residual_block(module)):
            found.append(path)
    if not found:
        kinds = ", ".join(RESIDUAL_BLOCKS)
        raise invalid(
            "model", f"one with blocks of the kinds {kinds}", type(model).__name__, "name its blocks"
        )
    return tuple(found)


def last_blocks(model: nn.Module, num_blocks: int) -> tuple[str, ...]:
    """Paths of the last blocks.

    Args:
        model: The network.
        num_blocks: How many; 0 to all.

    Raises:
        UserError: It has fewer.
    """
    paths = block_paths(model)
    if not 0 <= num_blocks <= len(paths):
        raise invalid("num_blocks", f"in [0, {len(paths)}], the blocks of the network", num_blocks)
    return paths[len(paths) - num_blocks :]


def freeze_below(model: nn.Module, num_blocks: int) -> None:
    """Freeze what comes before the last blocks, in place; what follows them stays as it is.

    Args:
        model: A network that names its layers in the order in which a picture goes through them.
        num_blocks: How many blocks may train; with 0 only what follows the blocks.
    """
    paths, trained = block_paths(model), last_blocks(model, num_blocks)
    last = max(
        place for place, (name, _) in enumerate(model.named_parameters()) if name.startswith(f"{paths[-1]}.")
    )
    for place, (name, parameter) in enumerate(model.named_parameters()):
        if place <= last and not name.startswith(tuple(f"{it}." for it in trained)):
            parameter.requires_grad_(False)
