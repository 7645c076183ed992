"""Many tasks on one backbone in memory: a task costs its delta, and changing tasks is a few dozen assignments.

No number is copied when the task changes, and none of the backbone is ever written to: parameters, classifier and lite
residuals of all tasks lie ready, and those of one hang in the network.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from types import MappingProxyType

from torch import nn

from multum.core import did_you_mean, invalid
from multum.transfer.delta import Delta, DeltaHeader
from multum.transfer.delta_apply import Swap, plan_swaps
from multum.transfer.lean import make_lean
from multum.transfer.lite_residual import WithLite


class TaskSwitch:
    """Switches a backbone between tasks, in place.

    Args:
        model: The backbone, on its device and of its type; move it before tasks are added. It stays as it is, in
            evaluation or not, until a task is used.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._swaps: dict[str, tuple[Swap, ...]] = {}
        self._headers: dict[str, DeltaHeader] = {}
        self._active: str | None = None

    @property
    def active(self) -> str | None:
        """The task in use; None: the network is the original one."""
        return self._active

    @property
    def tasks(self) -> Mapping[str, DeltaHeader]:
        """What was said about each task, its classes for instance."""
        return MappingProxyType(self._headers)

    def add(self, name: str, delta: Delta) -> None:
        """Take a task in; the one in use stays in use.

        Args:
            name: What it is to be called.
            delta: Of this backbone.

        Raises:
            UserError: A name that is taken, or a delta of another backbone.
        """
        if name in self._swaps:
            raise invalid("name", "new", name, f"taken: {', '.join(self._swaps)}")
        active = self._active
        self.off()
        try:
            swaps = plan_swaps(self._model, delta)
        finally:
            self._change_to(active)
        for swap in swaps:
            if isinstance(swap.after, WithLite):
                make_lean(swap.after.lite)  # its norms keep their statistics, whatever is done to the network
        self._swaps[name], self._headers[name] = swaps, delta.header

    def use(self, name: str) -> AbstractContextManager[object]:
        """Make the network that of a task, for good, or, in a `with` statement, until its block ends.

        Args:
            name: As it was added.

        Returns:
            Something whose `with` block ends with what was in use before.

        Raises:
            UserError: No such task.
        """
        if name not in self._swaps:
            raise invalid("name", "that of a task", name, did_you_mean(name, self._swaps))
        block = ExitStack()
        block.callback(self._change_to, self._active)
        self._change_to(name)
        return block

    def off(self) -> None:
        """Make the network the original one again, bit for bit: its own tensors were never written to."""
        self._change_to(None)

    def _change_to(self, name: str | None) -> None:
        if self._active is not None:
            for swap in reversed(self._swaps[self._active]):
                swap.undo()
        self._active = None
        if name is not None:
            for swap in self._swaps[name]:
                swap.put()
        self._active = name
