"""`multum accelerator reproduce`: the paper's evaluation, its numbers beside ours."""

from multum.accelerator.reproduce_command import ReproduceConfig, reproduce_paper, reproduction_dict, told
from multum.cli.verb import Outcome, Verb
from multum.core import provenance, require_module, say


def _reproduce(config: ReproduceConfig) -> Outcome:
    if config.html is not None:
        require_module("matplotlib", "report")  # told before the run, not after it
        require_module("jinja2", "report")
    found = reproduce_paper(config)
    if config.html is not None:
        from multum.report.reproduction_page import reproduction_page

        say(f"wrote {reproduction_page(found, provenance()).write(config.html)}")
    return Outcome(result=reproduction_dict(found), text=told(found))


REPRODUCE = Verb(options=ReproduceConfig, execute=_reproduce, recipes="accelerator")
