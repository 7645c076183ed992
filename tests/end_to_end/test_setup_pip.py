"""What a newcomer reads when pip fails: one sentence for each real cause."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from setup_scripts import setup_pip

PLENTY = 10**12
# Lines as pip 23.0 and 26.3 print them, provoked on a machine without that thing.
RECORDED = {
    "the disk is full": "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
    "the package index cannot be reached": (
        "WARNING: Retrying (Retry(total=4, connect=None, read=None, redirect=None, status=None)) after connection"
        " broken by 'NameResolutionError(\"HTTPSConnection(host='index', port=443)\")': /simple/\n"
        "ERROR: Could not find a version that satisfies the requirement pip==26.3 (from versions: none)\n"
        "ERROR: No matching distribution found for pip==26.3"
    ),
    "could not be trusted": (
        "Could not fetch URL https://localhost/simple/idna/: There was a problem confirming the ssl certificate:"
        " [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate - skipping\n"
        "ERROR: No matching distribution found for idna"
    ),
    "HTTPS_PROXY and run": (
        "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection"
        " broken by 'ProxyError('Cannot connect to proxy.', OSError('Tunnel connection failed: 403'))': /simple/"
    ),
    "may not be written": "ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: 'x'",
    "the package index has no torch==2.13.0": (
        "ERROR: Could not find a version that satisfies the requirement torch==2.13.0 (from versions: 2.2.0, 2.2.1)\n"
        "ERROR: No matching distribution found for torch==2.13.0"
    ),
    "pip failed (ERROR: something new)": "noise\nERROR: something new\n",
    "pip failed without saying why": "",
}


@pytest.mark.parametrize(("sentence", "output"), RECORDED.items(), ids=lambda text: text[:30])
def test_each_cause_has_its_sentence(sentence: str, output: str) -> None:
    told = setup_pip.explain(output, free_bytes=PLENTY)
    assert sentence in told
    assert "\n" not in told


def test_a_full_disk_is_recognized_even_when_pip_could_not_write_its_complaint() -> None:
    assert "the disk is full" in setup_pip.explain("", free_bytes=1000)


@pytest.mark.parametrize(
    ("code", "part"),
    [(errno.ENOSPC, "disk is full"), (errno.EACCES, "may not be written"), (errno.EIO, "refused")],
)
def test_an_error_of_the_operating_system_is_told_likewise(code: int, part: str) -> None:
    assert part in setup_pip.explain_os_error(OSError(code, os.strerror(code)))


def real_pip(*arguments: str) -> setup_pip.Finished:
    """Run the real pip far from this machine's settings, to nowhere but this machine."""
    command = setup_pip.pip_command(Path(sys.executable), "install", "--dry-run", "--no-deps", *arguments)
    done = subprocess.run(
        command,
        env={"PATH": os.defpath, "PIP_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )
    return setup_pip.Finished(code=done.returncode, output=done.stdout + done.stderr)


def test_a_real_pip_that_reaches_nothing_is_understood() -> None:
    # port 9 refuses; one retry, because pip is silent about a connection that it does not try again
    done = real_pip("--index-url", "https://127.0.0.1:9/simple", "--retries", "1", "no-such-package==1.0")
    assert done.code != 0
    assert "the package index cannot be reached" in setup_pip.explain(done.output, free_bytes=PLENTY)


def test_a_real_pip_that_finds_nothing_names_the_package(tmp_path: Path) -> None:
    done = real_pip("--no-index", "--find-links", str(tmp_path), "no-such-package==1.0")
    assert done.code != 0
    assert "pip found no no-such-package==1.0" in setup_pip.explain(done.output, free_bytes=PLENTY)


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def test_the_log_keeps_every_command_and_its_output(tmp_path: Path) -> None:
    run = setup_pip.logged_runner(tmp_path / "log")
    first = run(python("print('one')"), setup_pip.Limits())
    second = run(python("import sys; print('two', file=sys.stderr); sys.exit(3)"), setup_pip.Limits())
    assert (first.code, first.output) == (0, "one\n")
    assert (second.code, second.output) == (3, "two\n")
    log = (tmp_path / "log").read_text()
    assert log.index("one\n") < log.index("two\n")
    assert log.count("$ ") == 2


def test_a_command_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    start = time.monotonic()
    done = setup_pip.logged_runner(tmp_path / "log")(
        python("import time; time.sleep(60)"), setup_pip.Limits(seconds=0.3)
    )
    assert done.timed_out
    assert done.code != 0
    assert time.monotonic() - start < 20


def test_a_command_that_writes_too_much_is_stopped(tmp_path: Path) -> None:
    big = tmp_path / "big"
    code = f"open({str(big)!r}, 'wb', buffering=0).write(bytes(10**6)) == 10**6 or 1/0"
    done = setup_pip.logged_runner(tmp_path / "log")(python(code), setup_pip.Limits(file_bytes=10**5))
    assert done.code != 0
    assert big.stat().st_size == 10**5
