"""The door: options come from dataclasses, results go to standard output, and complaints are one line."""

import errno
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

import pytest

import multum.recipes
from multum.cli import main
from multum.cli import parsing as parsing_module
from multum.cli.entry import COMMANDS
from multum.cli.verb import Command, Outcome, RunFolder, RunVerb, Verb
from multum.core.errors import UserError, invalid
from multum.core.run import Run
from multum.version import __version__


@dataclass(frozen=True, kw_only=True)
class Schedule:
    keep_ratio: float = 0.5
    """Part of the tokens that stays."""

    def __post_init__(self) -> None:
        if not 0 < self.keep_ratio <= 1:
            raise invalid("keep_ratio", "in (0, 1]", self.keep_ratio)


@dataclass(frozen=True, kw_only=True)
class ShrinkOptions:
    text: str
    """What to shrink."""

    schedule: Schedule = Schedule()
    """How much stays."""

    sizes: tuple[int, ...] = (1, 2)
    """Some sizes."""

    mode: Literal["plain", "fancy"] = "plain"
    """How it looks."""

    quick: bool = False
    """Whether to hurry."""


def gentle() -> ShrinkOptions:
    """Keep nearly everything."""
    return ShrinkOptions(text="of the recipe", schedule=Schedule(keep_ratio=0.9), quick=True)


def shrink(options: ShrinkOptions) -> Outcome:
    print("a library chatters")
    kept = options.text[: int(len(options.text) * options.schedule.keep_ratio)]
    return Outcome(result={"kept": kept, "quick": options.quick}, text=f"kept: {kept}")


def shrink_in(options: ShrinkOptions, folder: RunFolder) -> Outcome:
    with Run.open(folder.out, options, resume=folder.resume, overwrite=folder.overwrite) as run:
        run.finish({"text": options.text})
    return Outcome(result=run.result, text=f"wrote {folder.out}")


def failing(problem: BaseException) -> Callable[[ShrinkOptions], Outcome]:
    def fail(options: ShrinkOptions) -> Outcome:
        raise problem

    return fail


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = ModuleType("multum.recipes.shrinking")
    monkeypatch.setattr(gentle, "__module__", module.__name__)
    module.gentle = gentle  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "shrinking.py").write_text("")
    monkeypatch.setattr(multum.recipes, "__path__", [str(tmp_path / "recipes")])


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, recipes: None) -> Callable[..., None]:
    def put(*verbs: tuple[str, Verb | RunVerb]) -> None:
        commands = tuple(
            Command(words=tuple(name.split()), summary=f"{name.title()} it.", load=lambda verb=verb: verb)
            for name, verb in verbs
        )
        monkeypatch.setattr("multum.cli.entry.COMMANDS", commands)
        monkeypatch.setattr("multum.cli.entry.SYSTEMS", {"cloth": "Wool runs in"})

    put(
        ("shrink", Verb(options=ShrinkOptions, execute=shrink, recipes="shrinking")),
        ("cloth wash", RunVerb(options=ShrinkOptions, execute=shrink_in, out=Path("runs/wash"))),
    )
    return put


def test_result_goes_to_stdout_and_chatter_to_stderr(install, capsys) -> None:
    assert main(["shrink", "abcdef"]) == 0
    told = capsys.readouterr()
    assert told.out == "kept: abc\n"
    assert told.err == "a library chatters\n"


def test_json_alone_stands_on_stdout(install, capsys) -> None:
    assert main(["shrink", "abcdef", "--json", "--quick"]) == 0
    assert json.loads(capsys.readouterr().out) == {"kept": "abc", "quick": True}


def test_dry_run_prints_the_effective_configuration_and_does_nothing(install, capsys) -> None:
    assert main(["shrink", "abc", "--dry-run", "--schedule.keep-ratio", "0.25", "--sizes", "7"]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert json.loads(told.out) == {
        "text": "abc",
        "schedule": {"keep_ratio": 0.25},
        "sizes": [7],
        "mode": "plain",
        "quick": False,
    }


def test_recipe_is_the_default_and_options_go_over_it(install, capsys) -> None:
    assert main(["shrink", "abc", "--recipe", "gentle", "--sizes", "3", "4", "--dry-run"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schedule"]["keep_ratio"] == 0.9
    assert told["quick"] is True
    assert told["sizes"] == [3, 4]
    assert told["text"] == "abc"


def test_recipe_does_not_replace_what_the_verb_works_on(install, capsys) -> None:
    assert main(["shrink", "--recipe=gentle"]) == 2
    assert "missing from multum shrink: TEXT" in capsys.readouterr().err


def test_unknown_recipe_is_refused_with_near_misses(install, capsys) -> None:
    assert main(["shrink", "abc", "--recipe", "gentel"]) == 2
    message = "multum: error: there is no recipe 'gentel' for this; did you mean gentle?\n"
    assert capsys.readouterr().err == message


def test_recipes_are_listed_with_their_first_line(recipes, capsys) -> None:
    assert main(["recipes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"shrinking": {"gentle": "Keep nearly everything."}}
    assert main(["recipes"]) == 0
    assert capsys.readouterr().out == "shrinking\n  gentle: Keep nearly everything.\n"
    assert main(["recipes", "--system", "shrinkin"]) == 2
    assert "did you mean shrinking?" in capsys.readouterr().err


def test_run_folder_options_reach_the_run(install, capsys, tmp_path: Path) -> None:
    words = ["cloth", "wash", "sock", "--out", str(tmp_path / "run")]
    assert main(words) == 0
    assert main(words) == 2
    assert "holds a finished run; --overwrite replaces it" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0
    assert main([*words, "--overwrite"]) == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["result"] == {"text": "sock"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["shrnk"], "'shrnk' is not a command of multum; did you mean shrink?"),
        (["xyzzy"], "'xyzzy' is not a command of multum; known: shrink, cloth"),
        (["cloth"], "multum cloth needs a verb: wash"),
        (["cloth", "wish"], "'wish' is not a verb of multum cloth; did you mean wash?"),
        (["shrink", "a", "--quik"], "unrecognized options: --quik; did you mean --quick?"),
        (["shrink", "a", "--schedule.kep-ratio", "1"], "did you mean --schedule.keep-ratio?"),
        (["shrink", "a", "--mode", "fency"], "invalid choice 'fency' for argument '--mode'"),
        (["shrink", "a", "--sizes", "big"], "could not find valid parse for arguments: ['big']"),
        (["shrink", "a", "--schedule.keep-ratio", "3"], "keep_ratio must be in (0, 1]; got 3.0"),
        (["shrink"], "missing from multum shrink: TEXT What to shrink."),
        (["shrink", "a", "b"], "unrecognized options: b; see multum shrink --help"),
    ],
)
def test_wrong_words_give_one_line_and_exit_code_2(install, capsys, words: list[str], message: str) -> None:
    assert main(words) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("multum: error: ")
    assert told.err.count("\n") == 1
    assert message in told.err


@pytest.mark.parametrize(
    ("problem", "code", "message"),
    [
        (
            UserError("keep_ratio must be small;\n try 0.5"),
            2,
            "multum: error: keep_ratio must be small; try 0.5\n",
        ),
        (KeyboardInterrupt(), 130, "multum: interrupted\n"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.txt"), 2, "multum: error: a.txt: no such file\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "multum: error: no space left on device\n"),
    ],
)
def test_failures_of_the_users_world_need_no_traceback(install, capsys, problem, code, message) -> None:
    install(("fail", Verb(options=ShrinkOptions, execute=failing(problem))))
    assert main(["fail", "a"]) == code
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("problem", [ValueError("ours"), OSError(errno.EBADF, "Bad file descriptor")])
def test_bugs_keep_their_traceback(install, problem: Exception) -> None:
    install(("fail", Verb(options=ShrinkOptions, execute=failing(problem))))
    with pytest.raises(type(problem)):
        main(["fail", "a"])


def test_traceback_of_a_user_error_is_shown_on_request(install, capsys, monkeypatch) -> None:
    monkeypatch.setenv("MULTUM_TRACEBACK", "1")
    install(("fail", Verb(options=ShrinkOptions, execute=failing(UserError("no")))))
    assert main(["fail", "a"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("Traceback (most recent call last)")
    assert told.endswith("multum: error: no\n")


def test_warnings_are_one_line_without_the_line_of_code(install, capsys) -> None:
    def warn(options: ShrinkOptions) -> Outcome:
        warnings.simplefilter("default")  # the tests make errors of warnings; a user's Python does not
        warnings.warn("multum: the slow path runs;\n install a compiler", RuntimeWarning, stacklevel=1)
        return Outcome(result={}, text="done")

    install(("warn", Verb(options=ShrinkOptions, execute=warn)))
    assert main(["warn", "a"]) == 0
    told = capsys.readouterr()
    assert told.out == "done\n"
    assert told.err == "multum: warning: the slow path runs; install a compiler\n"


def test_result_that_json_cannot_hold_is_no_broken_output(install, capsys) -> None:
    broken = Verb(
        options=ShrinkOptions, execute=lambda options: Outcome(result={"loss": float("nan")}, text="")
    )
    install(("fail", broken))
    assert main(["fail", "a", "--json"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "result.loss must be" in told.err


def test_version_is_told(capsys) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"multum {__version__}\n"


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_every_command_with_its_summary(capsys, words: list[str], monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(words) == 0
    page = capsys.readouterr().out
    for command in COMMANDS:
        assert command.name in page
        assert command.summary in page


def test_help_of_a_system_lists_its_verbs_only(install, capsys) -> None:
    assert main(["cloth", "--help"]) == 0
    page = capsys.readouterr().out
    assert "cloth wash" in page
    assert "shrink" not in page


def test_help_of_a_command_shows_docstrings_and_defaults(install, capsys) -> None:
    assert main(["shrink", "--help"]) == 0
    page = capsys.readouterr().out
    assert "Shrink it." in page
    assert "Part of the tokens that stays. (default: 0.5)" in page
    assert "Print the result as JSON" in page


def test_complaint_in_an_unknown_form_is_passed_on_in_one_line() -> None:
    assert parsing_module.one_line("something\nelse") == "something else"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_complaint_is_the_same_with_and_without_line_drawing(encoding: str) -> None:
    command = [sys.executable, "-m", "multum.cli", "recipes", "--systen", "x"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    expected = "unrecognized options: --systen, x; did you mean --system?; see multum recipes --help"
    assert done.stderr == f"multum: error: {expected}\n"


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from multum.cli import main; main(['--help']);"
        "print(sorted({'torch', 'transformers', 'numpy', 'tyro', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_reader_that_stops_early_is_no_error() -> None:
    command = f"{sys.executable} -u -m multum.cli --help | head -c 1 > /dev/null; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr
    assert done.stdout.strip() in {"0", "141"}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_loads_and_explains_itself(command: Command, capsys) -> None:
    assert main([*command.words, "--help"]) == 0
    assert command.summary in " ".join(capsys.readouterr().out.split())
    assert command.summary.endswith(".")
