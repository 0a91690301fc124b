#!/bin/sh
# Builds the wheel as `pip install .` does, into an environment of its own in target/, and runs its tests and the check of its
# types. With --cluster also the tests of `messymash.ray` (they install Ray, 300 MB).
set -eu
cd "$(dirname "$0")/.."
venv=target/python-venv
if ! [ -e "$venv/installed" ]; then
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet 'pytest>=8' 'mypy>=1.15,<3' 'beets>=2,<3'
    touch "$venv/installed"
fi
# The program's own target directory, so that what `cargo build --release` made is not made again.
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target} "$venv/bin/python" -m pip install --quiet --force-reinstall --no-deps .
"$venv/bin/python" -m pip install --quiet 'numpy>=1.26'
skip=--ignore=crates/python/tests/test_ray.py
if [ "${1:-}" = --cluster ]; then
    "$venv/bin/python" -m pip install --quiet 'ray[data]>=2.40'
    skip=
fi
"$venv/bin/python" -m pytest --quiet $skip
cd crates/python
"../../$venv/bin/python" -m mypy --config-file ../../pyproject.toml python/messymash
"../../$venv/bin/python" -m mypy.stubtest messymash --mypy-config-file ../../pyproject.toml \
    --allowlist tests/stubtest-allowlist.txt --ignore-unused-allowlist # messymash.ray needs Ray, which --cluster installs
