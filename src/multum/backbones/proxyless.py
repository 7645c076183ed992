"""ProxylessNAS-Mobile: a network that a search found for a phone, block by block.

The search looked at 22 positions and could leave a block out wherever its input passes unchanged; it did so at
positions 3 and 4. Publications count positions, `MobileNet.blocks` counts the 20 blocks that are there:
`PROXYLESS_POSITIONS` leads from one to the other.

Source: Cai, Zhu, Han, "ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware" (ICLR 2019), the
network for mobile phones (figure 4); an eps of 1e-3 in the norms is that of the published weights.
"""

from multum.backbones.convolution import LayerStyle
from multum.backbones.inverted_residual import BlockShape, MobileNet, NetworkShape

NUM_POSITIONS = 22
PROXYLESS_POSITIONS = tuple(position for position in range(NUM_POSITIONS) if position not in {3, 4})
"""Position of each block among those that the search looked at."""

# width, stride of the first block, kernels, expansions
_STAGES = (
    (16, 1, (3,), (1,)),
    (32, 2, (5, 3), (3, 3)),
    (40, 2, (7, 3, 5, 5), (3, 3, 3, 3)),
    (80, 2, (7, 5, 5, 5), (6, 3, 3, 3)),
    (96, 1, (5, 5, 5, 5), (6, 3, 3, 3)),
    (192, 2, (7, 7, 7, 7), (6, 6, 3, 3)),
    (320, 1, (7,), (6,)),
)


def proxyless_shape() -> NetworkShape:
    """The shape of ProxylessNAS-Mobile.

    >>> len(proxyless_shape().blocks), proxyless_shape().num_features
    (20, 1280)
    """
    blocks = tuple(
        BlockShape(kernel=kernel, expansion=expansion, width=width, stride=stride if index == 0 else 1)
        for width, stride, kernels, expansions in _STAGES
        for index, (kernel, expansion) in enumerate(zip(kernels, expansions, strict=True))
    )
    assert len(blocks) == len(PROXYLESS_POSITIONS)
    return NetworkShape(stem=32, blocks=blocks, last=1280)


def proxyless_mobile(num_classes: int = 1000, *, dropout: float = 0.2, norm_eps: float = 1e-3) -> MobileNet:
    """Build ProxylessNAS-Mobile with fresh weights.

    Args:
        num_classes: Classes to tell apart.
        dropout: Part of the features that is dropped in training.
        norm_eps: Added to variances under the root.

    Returns:
        The network; 2,799,512 parameters and the classifier.

    Raises:
        UserError: A value outside its range.
    """
    return MobileNet(proxyless_shape(), num_classes, style=LayerStyle(norm_eps=norm_eps), dropout=dropout)
