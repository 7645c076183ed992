"""Errors say in one sentence what is wrong and what to do."""

import sys

import pytest
import torch

from multum.core.errors import (
    LONGEST_SHOWN_VALUE,
    MissingExtraError,
    UserError,
    did_you_mean,
    invalid,
    require_module,
    wrong_type,
)


def test_sentence_names_constraint_value_and_remedy() -> None:
    problem = invalid("keep_ratio", "in (0, 1]", 2.0, "1 keeps everything")
    assert str(problem) == "keep_ratio must be in (0, 1]; got 2.0; 1 keeps everything"
    assert isinstance(problem, ValueError)


def test_sentence_without_remedy_ends_after_the_value() -> None:
    assert str(wrong_type("text", "a string", 3)) == "text must be a string; got 3"


def test_type_errors_are_found_by_both_names() -> None:
    problem = wrong_type("text", "a string", 3)
    assert isinstance(problem, TypeError)
    assert isinstance(problem, UserError)


def test_tensor_is_shown_by_shape_and_not_by_its_numbers() -> None:
    text = str(invalid("input", "of rank 3", torch.zeros(2, 5)))
    assert "Tensor (shape (2, 5), torch.float32)" in text
    assert "0." not in text


def test_long_value_is_cut() -> None:
    text = str(invalid("text", "short", "x" * 10_000))
    assert len(text) < LONGEST_SHOWN_VALUE + 60
    assert text.endswith("...")


def test_near_miss_is_suggested() -> None:
    assert did_you_mean("sead", ["seed", "folder"]) == "did you mean seed?"
    assert did_you_mean("tyni", ["tiny", "huge"]) == "did you mean tiny?"
    assert did_you_mean("keep", ["keep_ratio", "deep"]) == "did you mean keep_ratio?"


def test_without_a_near_miss_everything_known_is_listed() -> None:
    assert did_you_mean("xyz", ["seed", "folder"]) == "known: seed, folder"
    assert did_you_mean("xyz", []) == "nothing is known here"


def test_missing_extra_names_its_install_command() -> None:
    with pytest.raises(MissingExtraError, match=r'pip install "multum\[report\]"') as caught:
        require_module("multum_no_such_module.part", "report")
    assert isinstance(caught.value, ImportError)


def test_failure_inside_an_installed_module_is_not_blamed_on_the_extra(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "installed_but_broken.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all") as caught:
        require_module("installed_but_broken", "report")
    assert not isinstance(caught.value, UserError)
    assert "installed_but_broken" not in sys.modules


def test_a_class_is_shown_by_its_name_even_if_its_values_have_a_shape() -> None:
    assert "torch.Tensor" in str(invalid("kind", "an int", torch.Tensor))
