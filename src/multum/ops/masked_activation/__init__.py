"""ReLU and its family for training in little memory: backward keeps one bit of an element, not the element."""

from multum.ops.masked_activation.op import (
    implementations,
    masked_activation,
    masked_activation_,
    masked_gradient,
    masked_sum,
)
from multum.ops.masked_activation.reference import (
    Bend,
    in_memory_order,
    masked_activation_reference,
    masked_gradient_reference,
)

__all__ = [
    "Bend",
    "implementations",
    "in_memory_order",
    "masked_activation",
    "masked_activation_",
    "masked_activation_reference",
    "masked_gradient",
    "masked_gradient_reference",
    "masked_sum",
]
