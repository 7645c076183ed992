"""`python -m benchmarks.peers list | install [NAME ...]`: the environments of the peers."""

import argparse
import sys

from benchmarks.peers.environment import ENVIRONMENTS
from multum.core.errors import UserError


def main(arguments: list[str]) -> int:
    """Do what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("verb", choices=("list", "install"))
    parser.add_argument("names", nargs="*", choices=[*ENVIRONMENTS, []], help="all when none is named")
    wish = parser.parse_args(arguments)
    for name in wish.names or ENVIRONMENTS:
        environment = ENVIRONMENTS[name]
        if wish.verb == "install" and not environment.installed:
            environment.install()
        state = "installed" if environment.installed else "missing"
        print(f"{name:12} {state:10} {environment.about}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as problem:
        print(f"benchmarks: error: {problem}", file=sys.stderr)
        sys.exit(2)
