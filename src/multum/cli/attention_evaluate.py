"""`multum attention evaluate DATA`: what pruning costs on data of the user's own."""

from multum.attention import EvaluateConfig, evaluate
from multum.cli.verb import Outcome, Verb
from multum.core.config import to_dict


def _evaluate(config: EvaluateConfig) -> Outcome:
    found = evaluate(config)
    text = (
        f"{found.measure} over {found.num_texts}: dense {found.dense:.4f}, pruned {found.pruned:.4f}; "
        f"{found.saved:.2f}x fewer {found.saved_what}"
    )
    if found.lsb_rate is not None:
        text += f"; {found.lsb_rate:.1%} of rows fetched LSBs"
    return Outcome(result=to_dict(found), text=text)


EVALUATE = Verb(options=EvaluateConfig, execute=_evaluate, recipes="attention")
