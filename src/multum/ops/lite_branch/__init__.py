"""The branch of a lite residual as one pass there and one back: small maps, few channels, little kept."""

from multum.ops.lite_branch.op import implementations, lite_branch
from multum.ops.lite_branch.reference import LiteLayer, LiteSteps, lite_branch_reference

__all__ = ["LiteLayer", "LiteSteps", "implementations", "lite_branch", "lite_branch_reference"]
