"""Run folders: one folder per run, and `run.json` in it says everything.

A run is asked for once and may die at any moment: a laptop is closed, a disk fills up, somebody presses
Ctrl-C. Its folder therefore holds the effective configuration, the provenance and the names of the stages
that are complete, each written whole or not at all. `resume` continues after the last complete stage and
ends bit for bit where an undisturbed run would have ended, which is why a stage hands back what was *read
from its file*, in the first run as in the second.

    with Run.open(folder, config) as run:
        baseline = run.stage("baseline", lambda: evaluate(model))
        run.finish({"score": baseline["score"]})

For that, a stage must not lean on random numbers that an earlier one drew: each gets a generator of its own.
Nothing that a run did not write itself is ever deleted.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

from multum.core.config import differing_keys, from_dict, to_dict
from multum.core.errors import UserError, invalid
from multum.core.files import cannot_write, read_json, to_json_text, write_json_atomic, write_text_atomic
from multum.core.provenance import provenance

if os.name == "posix":
    import fcntl

SCHEMA = "multum.run/1"
"""Name and version of what `run.json` looks like."""

RUN_FILE = "run.json"
LOCK_FILE = ".multum.lock"

Result = TypeVar("Result")


class FolderLock:
    """Holds a folder for one process at a time.

    The lock belongs to the operating system, which drops it when its process ends in whatever way: a lock
    file that a crash left behind is therefore harmless. The file holds the process number, for the message
    to the one who comes second.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_FILE
        self._descriptor: int | None = self._take()

    def release(self) -> None:
        """Let the next one in; releasing twice does nothing."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)  # before the lock drops: the next one must not find our file
            os.close(self._descriptor)
            self._descriptor = None

    def _take(self) -> int:
        while True:
            try:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            except OSError as problem:
                raise cannot_write(self._path, problem) from problem
            if not _lock_without_waiting(descriptor):
                owner = os.read(descriptor, 20).decode("ascii", errors="replace").strip()
                os.close(descriptor)
                who = f"process {owner}" if owner else "another process"
                raise UserError(
                    f"{self._path.parent} is in use by {who}; wait for it, or choose another folder"
                )
            if _is_still_at(descriptor, self._path):
                os.truncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode("ascii"))
                return descriptor
            os.close(descriptor)  # its owner removed the file between our opening and our locking it: again


class Run:
    """One run and its folder.

    Made by `Run.open`, and best used in a `with` statement, which gives the folder free again.

    Attributes:
        folder: Where everything of this run lies.
        record: What `run.json` holds.
    """

    def __init__(self, folder: Path, record: dict[str, Any], lock: FolderLock) -> None:
        self.folder = folder
        self.record = record
        self._lock = lock

    @classmethod
    def open(
        cls,
        folder: Path,
        config: object,
        *,
        resume: bool = False,
        overwrite: bool = False,
        seed: int | None = None,
        device: str = "cpu",
    ) -> "Run":
        """Open a folder for a run.

        Args:
            folder: The run's own folder; created when it is missing.
            config: The effective configuration, a dataclass instance or a mapping of plain values.
            resume: Continue the run that lies there; with nothing there, start it.
            overwrite: Replace the run that lies there. Files that no run wrote stay.
            seed: The seed, for the provenance.
            device: The device, for the provenance.

        Returns:
            The run; `finished` is already true when a finished run was resumed.

        Raises:
            UserError: When the folder holds a run that left something and neither flag says what to do with
                it, holds files that belong to no run, holds a broken or unknown `run.json`, is in use by
                another process, or the run to resume had another configuration.
        """
        folder = Path(folder)
        if resume and overwrite:
            raise UserError("resume and overwrite cannot both be wished for; choose one")
        _make_folder(folder)
        lock = FolderLock(folder)
        try:
            plain = to_plain(config)
            record = _read_record(folder)
            if record is not None and (overwrite or _is_fruitless(folder, record)):
                _remove_run(folder, record)
                record = None
            if record is None:
                record = _new_record(plain, provenance(seed=seed, device=device))
            else:
                begun = _with_defaults(record["config"], config)
                _check_may_continue(folder, record, begun, plain, resume=resume)
                if record["status"] != "finished":
                    record["resumed"].append(provenance(seed=seed, device=device))
            run = cls(folder, record, lock)
            run._save()
        except BaseException:
            lock.release()
            raise
        return run

    @property
    def finished(self) -> bool:
        """Whether the run is complete and `result` is there."""
        return bool(self.record["status"] == "finished")

    @property
    def result(self) -> Any:
        """What `finish` was given, or None before."""
        return self.record["result"]

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the complete stages, in the order in which they were completed."""
        return tuple(self.record["stages"])

    def path(self, name: str) -> Path:
        """Give the place of a file of this run."""
        return self.folder / name

    def stage(self, name: str, compute: Callable[[], Result]) -> Result:
        """Compute a part of the run, unless an earlier attempt has completed it.

        Args:
            name: Name of the stage; letters, digits, `-`, `_` and `.`.
            compute: Computes the part; what it returns must have a JSON form.

        Returns:
            The part, as read back from JSON: tuples have become lists, and the keys of dicts are strings.
        """
        if not _is_stage_name(name):
            raise invalid("the name of a stage", "made of letters, digits, '-', '_' and '.'", name)
        place = self.path(f"stage-{name}.json")
        if name in self.record["stages"]:
            return cast("Result", read_json(place))
        text = to_json_text(compute(), name=f"stage {name}")
        write_text_atomic(place, text)
        self.record["stages"].append(name)
        self._save()
        return cast("Result", json.loads(text))

    def finish(self, result: Mapping[str, object]) -> None:
        """Write the result, call the run finished, and give the folder free.

        Args:
            result: Plain values that JSON can hold.
        """
        self.record["result"] = json.loads(to_json_text(dict(result), name="result"))
        self.record["status"] = "finished"
        self._save()
        self.close()

    def close(self) -> None:
        """Give the folder free; an unfinished run can be resumed later."""
        self._lock.release()

    def __enter__(self) -> "Run":  # noqa: PYI034 (beartype, which the tests use, knows no Self here)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _save(self) -> None:
        write_json_atomic(self.folder / RUN_FILE, self.record)


def to_plain(config: object) -> Any:
    """Tell a configuration in plain values that went through JSON, to compare with what a file holds."""
    plain = dict(config) if isinstance(config, Mapping) else to_dict(config)
    return json.loads(to_json_text(plain, name="config"))


def _new_record(config: object, source: dict[str, object]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "status": "running",
        "config": config,
        "provenance": source,
        "resumed": [],
        "stages": [],
        "result": None,
    }


def _make_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} must be a folder; it is a file")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise cannot_write(folder, problem) from problem


def _read_record(folder: Path) -> dict[str, Any] | None:
    """Read `run.json`; None for an empty folder."""
    path = folder / RUN_FILE
    if not path.exists():
        strangers = sorted(item.name for item in folder.iterdir() if not _is_ours(item.name))
        if strangers:
            remedy = "choose an empty folder or a new one"
            raise UserError(f"{folder} holds files but no {RUN_FILE} (for instance {strangers[0]}); {remedy}")
        return None
    try:
        record = read_json(path)
    except UserError as problem:
        raise UserError(f"{problem}; move the folder away, or choose another one") from problem
    found = record.get("schema") if isinstance(record, dict) else None
    if found != SCHEMA:
        raise invalid(f"the schema of {path}", repr(SCHEMA), found, "it was written by another version")
    missing = [key for key in _new_record({}, {}) if key not in record]
    if missing:
        raise UserError(f"{path} is incomplete: {missing[0]} is missing; move the folder away")
    if not isinstance(record["stages"], list) or not all(map(_is_stage_name, record["stages"])):
        raise invalid(f"stages in {path}", "a list of names", record["stages"], "move the folder away")
    return cast("dict[str, Any]", record)


def _with_defaults(found: object, config: object) -> object:
    """A configuration as it was written; options that there were none of then have their defaults."""
    if not is_dataclass(config) or not isinstance(found, Mapping):
        return found
    try:
        return to_plain(from_dict(type(config), found))
    except UserError:  # it says something that means nothing now
        return found


def _check_may_continue(
    folder: Path, record: Mapping[str, Any], begun: object, config: object, *, resume: bool
) -> None:
    if not resume:
        if record["status"] == "finished":
            raise UserError(
                f"{folder} holds a finished run; --overwrite replaces it, --resume shows it again"
            )
        raise UserError(
            f"{folder} holds a run that was not finished; --resume continues it, --overwrite starts anew"
        )
    different = differing_keys(begun, config)
    if different:
        raise UserError(
            f"{folder} holds a run with another configuration, different in {', '.join(different)}; "
            "resume it with the same one, or choose another folder"
        )


def _is_fruitless(folder: Path, record: Mapping[str, Any]) -> bool:
    """Whether a run ended before it left anything, as one does whose options turn out to be wrong."""
    left = [it for it in folder.iterdir() if it.name != RUN_FILE and not _is_ours(it.name)]
    return record["status"] != "finished" and not record["stages"] and not left


def _remove_run(folder: Path, record: Mapping[str, Any]) -> None:
    (folder / RUN_FILE).unlink(missing_ok=True)
    for name in record["stages"]:
        (folder / f"stage-{name}.json").unlink(missing_ok=True)


def _is_stage_name(name: object) -> bool:
    return isinstance(name, str) and bool(re.fullmatch(r"[A-Za-z0-9_.-]+", name))


def _is_ours(name: str) -> bool:
    return name == LOCK_FILE or (name.startswith(".") and name.endswith(".part"))


def _lock_without_waiting(descriptor: int) -> bool:
    if os.name != "posix":
        return True  # no advisory locks there: two runs in one folder are then the user's own care
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system that knows no locks, as some network ones do
    return True


def _is_still_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
