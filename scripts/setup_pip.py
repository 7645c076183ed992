"""Run pip, keep its noise in a log, and say in one sentence what went wrong.

pip prints hundreds of lines when it succeeds and thousands when it fails. A newcomer needs one line per step,
and one sentence when a step fails: what is missing and what to do about it. So every command writes to
``.venv/setup.log``, and `explain` turns the log of a failed one into that sentence. Only the standard library
is used: this runs before anything is installed.
"""

import errno
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_MEGABYTE = 10**6
_NEARLY_FULL_BYTES = 30 * _MEGABYTE


class SetupError(Exception):
    """A failure told in one sentence to the person at the keyboard."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What is left of a command that ended."""

    code: int
    """Exit status; negative when a signal ended it."""
    output: str
    """Standard output and standard error together."""
    timed_out: bool = False
    """Whether it was stopped because its time was over."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a command may use before it is stopped."""

    seconds: float | None = None
    """Wall-clock time."""
    file_bytes: int | None = None
    """The largest file it may write: a probe that starts to download gigabytes ends here."""


Runner = Callable[[Sequence[str], Limits], Finished]
"""Runs one command; tests put another one in the place of the real one."""


def logged_runner(log: Path) -> Runner:
    """Return a runner that appends each command and all it prints to a log file.

    Args:
        log: The log file; its folder must exist.

    Returns:
        The runner. It raises no error for a command that fails: the exit status is in its answer.
    """

    def run(command: Sequence[str], limits: Limits) -> Finished:
        def restrain() -> None:
            if limits.file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes))

        with log.open("ab") as stream:
            stream.write(f"\n$ {' '.join(command)}\n".encode())
            stream.flush()
            start = stream.tell()
            timed_out = False
            try:
                code = subprocess.run(  # noqa: S603 (the commands are written in this folder)
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    timeout=limits.seconds,
                    preexec_fn=restrain,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                code, timed_out = 124, True
        output = log.read_bytes()[start:].decode(errors="replace")
        return Finished(code=code, output=output, timed_out=timed_out)

    return run


def pip_command(python: Path, verb: str, *arguments: str) -> list[str]:
    """Return a pip command line that asks nothing and draws nothing.

    Everything else is left to pip's own variables and configuration files, so that a mirror, a proxy, a
    certificate or a folder of wheels which the user has set up for pip counts here too.

    Args:
        python: The interpreter whose pip is meant.
        verb: The pip command, as in ``install``.
        arguments: Its arguments.

    Returns:
        The words of the command.
    """
    quiet = ["--disable-pip-version-check", "--no-input"]
    if verb == "install":
        quiet += ["--progress-bar", "off", "--no-compile"]
    return [str(python), "-m", "pip", verb, *quiet, *arguments]


@dataclass(frozen=True, kw_only=True)
class Cause:
    """A reason why pip fails, and how it shows."""

    signs: tuple[str, ...]
    """Regular expressions; one of them in pip's output is enough."""
    sentence: str
    """What is wrong and what to do about it."""


FULL_DISK = Cause(
    signs=(r"\[Errno 28\]", "No space left on device", r"\[Errno 122\]", "[Dd]isk quota exceeded"),
    sentence="the disk is full: the set-up needs about 2.5 GB here, and room for downloads in the temporary folder"
    " (TMPDIR); make room and run the same command again",
)
NOT_WRITABLE = Cause(
    signs=(r"\[Errno 13\]", "Permission denied", r"\[Errno 30\]", "Read-only file system"),
    sentence="something here may not be written; check who owns this folder and its .venv, and run the same command"
    " again",
)
BAD_CERTIFICATE = Cause(
    signs=("CERTIFICATE_VERIFY_FAILED", "SSLCertVerificationError", "SSLError", "TLS CA certificate"),
    sentence="the package index could not be trusted (its certificate failed the check); name the right certificate"
    " in the variable PIP_CERT and run the same command again",
)
BAD_PROXY = Cause(
    signs=("ProxyError", "Tunnel connection failed", "407 Proxy"),
    sentence="the proxy between here and the package index refused; check the variable HTTPS_PROXY and run the same"
    " command again",
)
NO_NETWORK = Cause(
    signs=(
        "NameResolutionError|Name or service not known|nodename nor servname|Temporary failure in name resolution",
        "NewConnectionError|Failed to establish a new connection|Connection refused|Network is unreachable",
        "ConnectTimeoutError|ReadTimeoutError|timed out|Max retries exceeded|Could not fetch URL",
        "Connection reset|RemoteDisconnected|connection broken|ConnectionError",
        "Failed to resolve|Failed to connect|Unable to connect",
    ),
    sentence="the package index cannot be reached; check the network (pip's own settings, such as PIP_INDEX_URL and"
    " HTTPS_PROXY, are honoured) and run the same command again: it goes on from here",
)
_CAUSES = (FULL_DISK, BAD_CERTIFICATE, BAD_PROXY, NO_NETWORK, NOT_WRITABLE)
"""In the order of asking: a proxy's refusal also looks like a broken connection."""


def explain(output: str, *, free_bytes: int) -> str:
    """Say in one sentence why pip failed.

    Args:
        output: All that pip printed.
        free_bytes: Free space on the disk of the virtual environment. A full disk swallows pip's own
            complaint.

    Returns:
        A sentence without its subject's name and without a full stop.

    Example:
        >>> explain("OSError: [Errno 28] No space left on device", free_bytes=0)[:16]
        'the disk is full'
    """
    if free_bytes < _NEARLY_FULL_BYTES:
        return FULL_DISK.sentence
    for cause in _CAUSES:
        if any(re.search(sign, output) for sign in cause.signs):
            return cause.sentence
    missing = re.search(r"satisfies the requirement (\S+).*\(from versions: (.*)\)", output)
    if missing:
        here = f"Python {sys.version_info[0]}.{sys.version_info[1]} on this machine"
        if missing[2] == "none":  # an index that does not answer and one that has nothing look alike to pip
            return (
                f"pip found no {missing[1]}: either the package index cannot be reached, or it has none for {here};"
                " check the network and pip's settings, such as PIP_INDEX_URL, and run the same command again"
            )
        return f"the package index has no {missing[1]} for {here}; another Python may do: make demo PYTHON=python3.12"
    errors = [line for line in output.splitlines() if line.lower().startswith(("error", "fatal"))]
    return f"pip failed ({errors[-1].strip()})" if errors else "pip failed without saying why"


def explain_os_error(error: OSError) -> str:
    """Say in one sentence why the operating system refused something.

    Args:
        error: What was raised.

    Returns:
        A sentence like those of `explain`.

    Example:
        >>> explain_os_error(OSError(28, "No space left on device"))[:16]
        'the disk is full'
    """
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return FULL_DISK.sentence
    if error.errno in {errno.EACCES, errno.EROFS, errno.EPERM}:
        return NOT_WRITABLE.sentence
    return f"the operating system refused: {error}"
