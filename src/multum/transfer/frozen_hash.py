"""What stayed as it was, in one number: by it a delta knows its backbone.

In an adapted network a tensor may lie below a block that got a lite residual; its name here is the one that it has in
the backbone alone, so that both have the same hash.
"""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from multum.training import hash_tensors
from multum.transfer.lite_residual import LitePlace


def split_name(name: str, places: Sequence[LitePlace]) -> tuple[str | None, str]:
    """Where a tensor of an adapted network belongs.

    Args:
        name: In the adapted network.
        places: Its lite residuals.

    Returns:
        The path of the block whose lite residual it is in, and its name there; or None and its name in the backbone.

    >>> place = LitePlace(path="a", in_channels=1, out_channels=1, stride=1, map_size=1)
    >>> split_name("a.lite.mix.0.weight", [place]), split_name("a.block.weight", [place])
    (('a', 'mix.0.weight'), (None, 'a.weight'))
    """
    for path in sorted((it.path for it in places), key=len):  # a block within a block comes later
        if name.startswith(f"{path}.lite."):
            return path, name.removeprefix(f"{path}.lite.")
        if name.startswith(f"{path}.block."):
            name = f"{path}.{name.removeprefix(f'{path}.block.')}"
    return None, name


def frozen_hash(state: Mapping[str, Tensor], changed: Iterable[str], places: Sequence[LitePlace] = ()) -> str:
    """`hash_tensors` of all tensors but the changed ones.

    Args:
        state: A `state_dict()`.
        changed: Names in it that are left out.
        places: Lite residuals in it: names count as they are without them.
    """
    left_out = set(changed)
    return hash_tensors(
        {split_name(name, places)[1]: it for name, it in state.items() if name not in left_out}
    )
