"""Recipes: ready-made configurations, found by looking at functions.

A recipe is a public function in a module of `multum.recipes` that takes nothing and returns a whole
configuration. Nothing is registered anywhere: `--recipe NAME` looks for a function of that name, and
`multum recipes` reads the first lines of the docstrings.
"""

import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import multum.recipes
from multum.cli.verb import Outcome, Verb
from multum.core.errors import UserError, did_you_mean

Recipe = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class RecipesOptions:
    """What to list."""

    system: str | None = None
    """List only the recipes of this system."""


def recipes_of(system: str, returns: type | None = None) -> dict[str, Recipe]:
    """Find the recipes of one system.

    Args:
        system: Name of the module in `multum.recipes`.
        returns: Keep only recipes annotated to return this configuration; None keeps all.

    Returns:
        The functions by name, in the order in which they are written; empty when there is no such module.
    """
    if system not in systems():
        return {}
    module = importlib.import_module(f"multum.recipes.{system}")
    return {
        name: function
        for name, function in vars(module).items()
        if _is_recipe(function, module)
        and (returns is None or typing.get_type_hints(function)["return"] is returns)
    }


def systems() -> list[str]:
    """List the systems that have recipes."""
    return sorted(module.name for module in pkgutil.iter_modules(multum.recipes.__path__))


def _is_recipe(candidate: object, module: ModuleType) -> bool:
    return (
        inspect.isfunction(candidate)
        and not candidate.__name__.startswith("_")
        and candidate.__module__ == module.__name__
        and not inspect.signature(candidate).parameters
        and "return" in candidate.__annotations__
    )


def _list(options: RecipesOptions) -> Outcome:
    if options.system is not None and options.system not in systems():
        raise UserError(
            f"there are no recipes for {options.system!r}; {did_you_mean(options.system, systems())}"
        )
    chosen = [options.system] if options.system else systems()
    result = {system: {name: _first_line(it) for name, it in recipes_of(system).items()} for system in chosen}
    lines = [
        line
        for system, recipes in result.items()
        for line in (system, *(f"  {name}: {first_line}" for name, first_line in recipes.items()))
    ]
    return Outcome(result=result, text="\n".join(lines) or "There are no recipes.")


def _first_line(recipe: Recipe) -> str:
    return (inspect.getdoc(recipe) or "").partition("\n")[0]


RECIPES = Verb(options=RecipesOptions, execute=_list)
