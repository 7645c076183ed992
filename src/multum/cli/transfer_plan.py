"""`multum transfer plan DATA --budget-mb N`: what a training in so much memory would be, before it is begun."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from multum.cli.verb import Outcome, Verb
from multum.core import check_fields
from multum.core.config import to_dict
from multum.transfer import Mode, Plan, TransferConfig, facts_of, plan, step_seconds

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """Plan a training in little memory: what trains, how deep, at which size and in what portions.

    Raises:
        UserError: A value outside its range.
    """

    data: Path
    """Folder with a sub-folder of pictures for each class; or the word digits."""

    budget_mb: float = 64.0
    """Megabytes that training may take beside the program itself."""

    backbone: str = "efficientnet-lite0"
    """Network to start from."""

    mode: Mode = "lite+bias"
    """The most that is tried to train."""

    side: int | None = None
    """The largest side that is tried, in pixels; as the backbone was published when left alone."""

    batch_size: int = 8
    """Pictures of a step."""

    def __post_init__(self) -> None:
        check_fields(self)


def _plan(config: PlanConfig) -> Outcome:
    wish = TransferConfig(
        data=config.data,
        backbone=config.backbone,
        mode=config.mode,
        side=config.side,
        batch_size=config.batch_size,
    )
    found = plan(wish, facts_of(wish), config.budget_mb)
    told = {
        "plan": found.tell(),
        "total_bytes": found.total_bytes,
        "parts": found.memory.parts(),
        "macs": found.memory.macs,
        "step_seconds": step_seconds(found.memory, found.config),
        "config": to_dict(found.config),
    }
    return Outcome(result=told, text=plan_text(found))


def plan_text(found: Plan) -> "RenderableType":
    """A plan, and what its memory is for."""
    from rich.console import Group

    from multum.cost import format_bytes, format_count
    from multum.cost.table import rich_table

    rows = [(name, format_bytes(size)) for name, size in found.memory.parts().items() if size]
    seconds = step_seconds(found.memory, found.config)
    work = (
        f"{format_count(found.memory.macs)} multiply-accumulates, about {seconds:.2g} s a step on this machine; "
        f"{found.num_predicted} steps predicted"
    )
    return Group(found.tell(), rich_table(("Memory of a step", "Bytes"), rows), work)


PLAN = Verb(options=PlanConfig, execute=_plan)
