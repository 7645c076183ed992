"""The list of commands: what exists, in one line each, with nothing heavy imported.

To add a command, write a module with a `Verb` in this folder and a line in `COMMANDS`. The import of the
inside stands in a function of its own, so that it happens when the command is called and not before.
"""

from multum.cli.verb import AnyVerb, Command


def _cost() -> AnyVerb:
    from multum.cli.cost import COST

    return COST


def _recipes() -> AnyVerb:
    from multum.cli.recipes import RECIPES

    return RECIPES


COMMANDS = (
    Command(
        words=("cost",),
        summary="Measure what a model costs: parameters, MACs, memory, traffic, time.",
        load=_cost,
    ),
    Command(
        words=("recipes",),
        summary="List the recipes, ready-made configurations, of every system.",
        load=_recipes,
    ),
)
"""Every command, in the order of the help page."""

SYSTEMS = {
    "attention": "Sentences lose the words that do not matter",
}
"""Systems with verbs of their own, and what each is about."""
