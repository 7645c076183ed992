"""`multum attention run MODEL`: one text through a model, dense and pruned."""

from multum.attention import Ran, RunConfig, run_model
from multum.cli.accelerator_reading import reading_table
from multum.cli.verb import Outcome, Verb
from multum.core.config import to_dict


def _run(config: RunConfig) -> Outcome:
    from rich.console import Group

    ran = run_model(config)
    text = Group(told(ran), ran.before / ran.after)
    if ran.accelerator is not None:
        text = Group(text, "", reading_table(ran.accelerator))
    return Outcome(result=to_dict(ran), text=text)


def told(ran: Ran) -> str:
    """Tell outputs and counts in lines.

    Args:
        ran: What `run_model` found.

    Returns:
        The lines.
    """
    rows = {"tokens": ran.tokens_per_layer, "heads": ran.heads_per_layer, "value rows": ran.values_per_layer}
    lines = [
        f"{ran.model}, {ran.num_tokens} tokens",
        *[f"{name} by layer: {' '.join(map(str, counts))}" for name, counts in rows.items()],
        f"dense:  {ran.dense_output}",
        f"pruned: {ran.pruned_output}",
        f"agreement {ran.agreement:.3f}",
    ]
    return "\n".join([*lines, *([f"wrote {ran.trace}"] if ran.trace else []), ""])


RUN = Verb(options=RunConfig, execute=_run, recipes="attention")
