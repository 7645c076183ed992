"""What the ruler reads: `Cost`, one row of it for each layer, and the memory timeline.

A `Cost` is plain data. It can be written to JSON and read back, printed, and set against another one:
`before / after` tells how many times less of everything is needed, `before - after` how much is saved.

>>> before, after = Cost(name="dense", macs=3_000_000), Cost(name="pruned", macs=1_000_000)
>>> (before / after).ratio("macs")
3.0
>>> Cost.from_dict(before.to_dict()) == before
True
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from multum.core.config import from_dict, to_dict
from multum.core.errors import invalid, wrong_type
from multum.cost.timing import Latency

if TYPE_CHECKING:
    from rich.table import Table

    from multum.cost.compare import Comparison, Difference

Mode = Literal["inference", "training"]
"""A forward pass without gradients, or a whole step: forward, loss, backward, optimizer."""

SCHEMA: Final = "multum.cost/1"
"""Name and version of the JSON form of a `Cost`."""


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """What one module costs by itself, without its children: the rows of all layers add up to the whole model.

    Two exceptions, which do not add up: `output_bytes` is what the module as a whole hands on, and
    `peak_live_bytes` is the level that the memory of the whole model reached while the module was at work.
    """

    path: str
    """Where the module hangs in the model, as `named_modules` spells it; `(model)` is the root, and `(loss)` and
    `(optimizer)` are the parts of a training step that belong to no module."""

    kind: str
    """The module's class."""

    num_calls: int = 0
    """How often its forward ran in one pass."""

    num_parameters: int = 0
    """Parameters that the module owns; a shared one is counted where it is found first."""

    num_trainable_parameters: int = 0
    """Those of them that require a gradient."""

    parameter_bytes: int = 0
    """Their size."""

    macs: int = 0
    """Multiply-accumulates, in training those of the backward pass too."""

    attention_macs: int = 0
    """The part of `macs` that multiplies activations with activations."""

    dram_read_bytes: int = 0
    """Bytes that the operations read when nothing stays in a cache between two of them."""

    dram_written_bytes: int = 0
    """Bytes that they write."""

    dram_floor_bytes: int = 0
    """Bytes that must cross the border of this layer even if everything inside it stayed in a cache: what it reads
    from outside and what others read from it, each once."""

    kept_bytes: int = 0
    """Activations that are kept for the backward pass and were first saved here; unique storages."""

    workspace_bytes: int = 0
    """Largest estimated scratch memory of one of its operations (see `multum.cost.workspace`)."""

    output_bytes: int = 0
    """Size of what the module returned, over all its calls."""

    peak_live_bytes: int = 0
    """Most bytes alive in the whole model while the module was at work."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One point of the memory timeline: what was alive while one operation ran."""

    step: int
    """Number of the operation since the pass began."""

    phase: Literal["forward", "loss", "backward", "optimizer"]
    """Part of the pass."""

    layer: str
    """Path of the layer that the operation belongs to."""

    operation: str
    """Name of the operation, for instance `aten.addmm`."""

    live_bytes: int
    """Everything alive: weights, buffers, inputs, activations, gradients, optimizer state."""

    activation_bytes: int = 0
    """The part that is neither weights, buffers nor inputs, nor gradients or optimizer state."""

    gradient_bytes: int = 0
    """The part that ends up as a parameter's gradient."""

    optimizer_bytes: int = 0
    """The part that belongs to the optimizer's state."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One reading of the ruler. Fields that were not measured keep their zero or None."""

    name: str
    """What was measured."""

    mode: Mode = "inference"
    """A forward pass without gradients, or a whole training step."""

    device: str = "cpu"
    """Where it ran."""

    num_parameters: int = 0
    """Parameters; one that is shared by several layers counts once."""

    num_trainable_parameters: int = 0
    """Parameters that require a gradient."""

    parameter_bytes: int = 0
    """Size of the parameters."""

    buffer_bytes: int = 0
    """Size of the model's buffers, such as running statistics."""

    input_bytes: int = 0
    """Size of the inputs."""

    output_bytes: int = 0
    """Size of the outputs."""

    macs: int = 0
    """Multiply-accumulates (half of the floating-point operations of a matrix product) of the whole pass."""

    attention_macs: int = 0
    """The part of `macs` that multiplies activations with activations: scores and weighted values, also of causal
    attention, which is counted in full."""

    attention_counted: bool = True
    """Whether every attention operation was counted; False when one is among `uncounted_ops`."""

    uncounted_ops: tuple[str, ...] = ()
    """Operations that look like matrix products but have no MAC formula: `macs` is too small by what they do."""

    resident_bytes: int = 0
    """Alive before the pass begins: weights, buffers, inputs and the optimizer's state."""

    peak_live_bytes: int = 0
    """Most bytes alive at one moment: weights, buffers, inputs, activations, gradients, optimizer state, together
    with the scratch memory of the operation at work."""

    workspace_bytes: int = 0
    """The part of `peak_live_bytes` that is an estimate of the scratch memory of kernels."""

    kept_bytes: int = 0
    """Activations that autograd keeps for the backward pass; unique storages, without parameters, buffers and
    inputs."""

    kept_input_bytes: int = 0
    """Inputs that autograd keeps, stated apart: the caller holds them anyway."""

    gradient_bytes: int = 0
    """Size of the parameters' gradients after the backward pass."""

    optimizer_bytes: int = 0
    """Size of the optimizer's state; 0 without an optimizer."""

    dram_bytes: int = 0
    """Bytes read and written by all operations when nothing stays in a cache between two of them."""

    dram_floor_bytes: int = 0
    """Bytes that must move at least: every weight that is used, every input and every output once; in training also
    gradients and optimizer state."""

    latency: Latency | None = None
    """Time of one pass, measured apart from everything else."""

    cycles: int | None = None
    """Clock cycles, where the hardware was simulated."""

    energy_joules: float | None = None
    """Energy, where the hardware was simulated."""

    layers: tuple[LayerCost, ...] = ()
    """One row for each module that computes or owns something."""

    timeline: tuple[Moment, ...] = ()
    """Live memory over the pass; thinned out to a drawable number of points, peaks kept."""

    def __truediv__(self, after: "Cost") -> "Comparison":
        """Set this reading against a later one: how many times less is needed."""
        from multum.cost.compare import Comparison

        return Comparison(before=self, after=_as_cost(after))

    def __sub__(self, after: "Cost") -> "Difference":
        """Tell how much of everything a later reading saves."""
        from multum.cost.compare import Difference

        return Difference(before=self, after=_as_cost(after))

    def to_dict(self) -> dict[str, Any]:
        """Tell the reading as plain data for JSON, with the name of its schema."""
        return {"schema": SCHEMA, **to_dict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Cost":
        """Read what `to_dict` wrote.

        Args:
            data: Plain data.

        Returns:
            The reading.

        Raises:
            UserError: When the schema is unknown, a key is unknown or missing, or a value has the wrong type.
        """
        if not isinstance(data, Mapping):
            raise wrong_type("cost", "a mapping written by Cost.to_dict", data)
        schema = data.get("schema")
        if schema != SCHEMA:
            raise invalid(
                "schema", repr(SCHEMA), schema, "this file was not written by this version's Cost.to_dict"
            )
        return from_dict(cls, {key: value for key, value in data.items() if key != "schema"})

    def layer(self, path: str) -> LayerCost:
        """Find the row of one layer.

        Args:
            path: The layer's path.

        Returns:
            Its row.

        Raises:
            UserError: When the model has no such layer, or it neither ran nor owns anything.
        """
        for row in self.layers:
            if row.path == path:
                return row
        raise invalid("path", "the path of a measured layer", path, "Cost.layers lists them")

    def __str__(self) -> str:
        from multum.cost.table import plain_cost

        return plain_cost(self)

    def __rich__(self) -> "Table":
        from multum.cost.table import rich_cost

        return rich_cost(self)


def _as_cost(value: object) -> Cost:
    if not isinstance(value, Cost):
        raise wrong_type("after", "a Cost", value)
    return value
