#!/bin/sh
# Finds a Python for the set-up and hands over to setup.py; works where there is no Python at all, to say so.
#
#   sh scripts/setup.sh demo test      make .venv hold what the extras `demo` and `test` need
#
# The Python: $PYTHON if that is set; else the one of .venv; else the first of python3, python3.13, python3.12 and
# python3.11 that is new enough and can create virtual environments. Exit status 2 and one sentence when there is none.
# Only the shell's own words are used before a Python was found: a bare PATH may hold nothing else.
set -u
here=${0%/*}
[ "$here" != "$0" ] || here=.
fitness='import sys
if sys.version_info < (3, 11): sys.exit(3)
try:
    import ensurepip, venv
except ImportError:
    sys.exit(4)'

fail() {
    printf 'multum set-up: %s\n' "$1" >&2
    exit 2
}

if [ -n "${PYTHON:-}" ]; then
    "$PYTHON" -c "$fitness" >/dev/null 2>&1
    case $? in
        0) exec "$PYTHON" "$here/setup.py" "$@" ;;
        3) fail "PYTHON must be Python 3.11 or newer; '$PYTHON' is older; name a newer one, as in: make demo PYTHON=python3.12" ;;
        4) fail "'$PYTHON' cannot create virtual environments (no ensurepip); on Debian or Ubuntu install python3-venv, or name another one: make demo PYTHON=python3.12" ;;
        *) fail "PYTHON must name a Python 3.11 or newer; '$PYTHON' does not run; leave it unset to let the set-up look for one" ;;
    esac
fi

inside="$here/../.venv/bin/python"
if [ -x "$inside" ] && "$inside" -c "$fitness" >/dev/null 2>&1; then
    exec "$inside" "$here/setup.py" "$@"
fi

too_old='' bare=''
for candidate in python3 python3.13 python3.12 python3.11; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    "$candidate" -c "$fitness" >/dev/null 2>&1
    case $? in
        0) exec "$candidate" "$here/setup.py" "$@" ;;
        3) too_old=${too_old:-$candidate} ;;
        4) bare=${bare:-$candidate} ;;
    esac
done
[ -z "$bare" ] || fail "'$bare' cannot create virtual environments (no ensurepip); on Debian or Ubuntu: apt install python3-venv"
[ -z "$too_old" ] || fail "Python 3.11 or newer is needed and '$too_old' is older; install one, or name it: make demo PYTHON=/path/to/python3.12"
fail "Python 3.11 or newer is needed and none was found on PATH; install one, or name it: make demo PYTHON=/path/to/python3"
