"""Progress and warnings: told on stderr, once, and in few lines."""

import inspect
import io
import sys
import warnings

import pytest

from multum.core.once import forget_warnings, warn_once
from multum.core.progress import LINES_PER_LOOP, say, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_status_goes_to_stderr_only(capsys: pytest.CaptureFixture[str]) -> None:
    say("reading")
    assert capsys.readouterr() == ("", "reading\n")


@pytest.mark.parametrize("total", [1, 3, 10, 11, 1000])
def test_loop_in_a_log_prints_about_ten_lines_and_ends_complete(
    capsys: pytest.CaptureFixture[str], total: int
) -> None:
    assert list(track(range(total), "counting")) == list(range(total))
    told = capsys.readouterr()
    lines = told.err.splitlines()
    assert told.out == ""
    assert len(lines) == min(total, LINES_PER_LOOP)
    assert lines[-1].startswith(f"counting: {total} of {total}, ")


def test_loop_of_unknown_length_says_when_it_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track((n for n in range(5)), "counting")) == [0, 1, 2, 3, 4]
    assert capsys.readouterr().err.startswith("counting: all 5 done, ")


def test_given_total_is_used_for_a_generator(capsys: pytest.CaptureFixture[str]) -> None:
    assert sum(track((n for n in range(4)), "counting", total=4)) == 6
    assert "4 of 4" in capsys.readouterr().err


def test_empty_loop_says_nothing_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track([], "counting")) == []
    assert capsys.readouterr().out == ""


def test_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    assert list(track([1, 2, 3], "counting")) == [1, 2, 3]
    assert "3/3" in terminal.getvalue()
    assert "\x1b" in terminal.getvalue()


def test_warning_is_told_once_until_forgotten() -> None:
    with pytest.warns(UserWarning, match="slow path"):
        warn_once("slow path", UserWarning)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_once("slow path", UserWarning)
    forget_warnings()
    with pytest.warns(UserWarning, match="slow path"):
        warn_once("slow path", UserWarning)


def test_two_sentences_are_two_warnings() -> None:
    with pytest.warns(RuntimeWarning, match="no compiler"):
        warn_once("no compiler")
    with pytest.warns(RuntimeWarning, match="no GPU"):
        warn_once("no GPU")


def test_warning_names_the_line_of_the_caller() -> None:
    tell = inspect.unwrap(warn_once)  # without the type checker that the tests put around it

    def public_function() -> None:
        tell("fallback")

    with pytest.warns(RuntimeWarning) as heard:
        public_function()
    assert heard[0].filename == __file__
    assert heard[0].lineno == public_function.__code__.co_firstlineno + 4  # the call, not its inside
