#!/bin/sh
# Runs tools/reference.py (or the program of tools/ named first) in an environment of its own, which the first run makes:
# it downloads the pinned packages of requirements-reference.txt, about 3 GB, because PyPI's torch brings its GPU
# libraries. Inside an active virtual environment that one is used as it is.
#
#   tools/reference.sh [ARGUMENTS]                 live parity
#   tools/reference.sh golden_model.py             or golden_features.py, bench_peers.py
#
# REFERENCE_VENV: where the environment is kept (default: target/reference-venv); PYTHON: what makes it (default python3).
set -eu
cd "$(dirname "$0")/.."
program=reference.py
case "${1:-}" in
*.py)
    program=$1
    shift
    ;;
esac
if [ -n "${VIRTUAL_ENV:-}" ]; then
    exec "$VIRTUAL_ENV/bin/python" "tools/$program" "$@"
fi
venv=${REFERENCE_VENV:-target/reference-venv}
# A copy of the requirements is left behind last: an interrupted or outdated installation is done again.
if ! cmp -s tools/requirements-reference.txt "$venv/installed.txt"; then
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip install --requirement tools/requirements-reference.txt
    cp tools/requirements-reference.txt "$venv/installed.txt"
fi
exec "$venv/bin/python" "tools/$program" "$@"
