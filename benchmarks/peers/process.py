"""A peer at work: a process in the peer's environment that answers calls, one line of JSON each.

A call is as short as its answer, so a peer can be timed round robin with ours although it cannot share our process:
the line there and back costs a tenth of a millisecond.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from benchmarks.peers.environment import PeerEnvironment
from multum.core.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


class PeerError(UserError):
    """A peer could not be started, or a call failed in it."""


class Peer:
    """A worker in the environment of a peer; a context manager that ends it."""

    def __init__(self, environment: PeerEnvironment, worker: str, *, num_threads: int) -> None:
        """Start a worker.

        Args:
            environment: Where.
            worker: A module of `benchmarks.peer_workers`.
            num_threads: Threads that the peer may use; set before it imports anything.

        Raises:
            PeerError: The environment is not installed.
        """
        if not environment.installed:
            raise PeerError(f"{environment.name} is not installed; {environment.remedy}")
        quiet = {
            "HF_HUB_OFFLINE": "1",
            "TQDM_DISABLE": "1",
            "TRANSFORMERS_VERBOSITY": "error",
            "PYTHONWARNINGS": "ignore",
        }
        calm = {
            "OMP_NUM_THREADS": str(num_threads),
            "OMP_WAIT_POLICY": "passive",
            "TOKENIZERS_PARALLELISM": "false",
        }
        self.environment = environment
        self._process = subprocess.Popen(
            [str(environment.python), "-m", f"benchmarks.peer_workers.{worker}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **calm, **quiet},
        )
        self.call("threads", num_threads=num_threads)

    def call(self, name: str, /, **arguments: Any) -> Any:
        """Call a function of the worker and wait for its answer.

        Raises:
            PeerError: The function raised, or the worker ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"call": name, "arguments": arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise PeerError(f"{self.environment.name} ended while it answered {name!r}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(f"{self.environment.name} could not answer {name!r}: {answer['error']}")
        return answer["result"]

    def versions(self) -> dict[str, str]:
        """The versions of what is compared, as the peer's own environment has them."""
        found: dict[str, str] = self.call("versions", names=list(self.environment.packages))
        return found

    def close(self) -> None:
        """End the worker."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        """Give the peer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the worker."""
        self.close()


def ask_environment(
    environment: PeerEnvironment,
    program: str,
    *arguments: str,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, float]:
    """Run a program in a peer's environment and return the numbers that it prints last, as JSON.

    Args:
        environment: Where.
        program: Python.
        arguments: Its own.
        settings: Of its process, beside those of this one.

    Raises:
        PeerError: The environment is not installed.
    """
    if not environment.installed:
        raise PeerError(f"{environment.name} is not installed; {environment.remedy}")
    done = subprocess.run(
        [str(environment.python), "-c", program, *arguments],
        cwd=ROOT,
        env={**os.environ, **settings, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
