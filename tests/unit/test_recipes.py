"""Every recipe gives a whole configuration, and its docstring tells command, paper and expectation."""

import dataclasses
import inspect
import re
from fnmatch import fnmatch

import pytest
from benchmarks.places import load_suite, suite_names

from multum.cli.recipes import Recipe, recipes_of, systems
from multum.core.config import from_dict, to_dict

RECIPES = [(system, name, recipe) for system in systems() for name, recipe in recipes_of(system).items()]


@pytest.mark.parametrize(("system", "name", "recipe"), RECIPES, ids=[f"{s}-{n}" for s, n, _ in RECIPES])
def test_a_recipe_is_a_whole_configuration_with_its_story(system: str, name: str, recipe: Recipe) -> None:
    config = recipe()
    assert dataclasses.is_dataclass(config)
    assert from_dict(type(config), to_dict(config)) == config
    story = inspect.getdoc(recipe) or ""
    assert f"--recipe {name}" in story
    assert f"multum {system}" in story
    assert "Paper:" in story
    assert "Expected:" in story


def test_every_figure_of_sparse_attention_is_named_by_the_recipe_of_its_setting() -> None:
    told = "\n".join(inspect.getdoc(recipe) or "" for _, _, recipe in RECIPES)
    named = re.findall(r"`(attention\.[a-z0-9_*]+)`", told)
    figures = [figure.id for name in suite_names() for figure in load_suite(name).figures]
    figures = [it for it in figures if it.startswith("attention.")]
    assert len(figures) > 20
    assert [it for it in figures if not any(fnmatch(it, name) for name in named)] == []
