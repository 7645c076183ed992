"""`multum cost MODEL`: put a model on the scale."""

import shutil

from multum.cli.verb import Outcome, Verb
from multum.core.errors import require_module
from multum.core.progress import say
from multum.core.provenance import provenance
from multum.cost import Cost, CostConfig, rich_layers, run_cost


def _cost(config: CostConfig) -> Outcome:
    from rich.console import Group

    if config.html is not None:
        require_module("matplotlib", "report")  # told before the measurement, not after it
        require_module("jinja2", "report")
    say(f"measuring {config.target}")
    cost = run_cost(config)
    _write_page(cost, config)
    layers = rich_layers(cost, width=shutil.get_terminal_size().columns)
    return Outcome(result=cost.to_dict(), text=Group(cost, layers))


def _write_page(cost: Cost, config: CostConfig) -> None:
    if config.html is None:
        return
    from multum.report import cost_page

    page = cost_page(cost, provenance(seed=config.seed, device=config.device))
    say(f"wrote {page.write(config.html)}")


COST = Verb(options=CostConfig, execute=_cost)
