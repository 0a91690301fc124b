#!/bin/sh
# Runs tools/check_events.py with the program of target/release, in an environment of its own with tensorboard, which the first
# run makes in target/ (30 MB).
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
venv=target/tensorboard-venv
if ! [ -e "$venv/installed" ]; then
    "${PYTHON:-python3}" -m venv "$venv"
    # setuptools: tensorboard asks for pkg_resources, which later ones do not have.
    "$venv/bin/python" -m pip install --quiet 'tensorboard>=2.16,<3' 'setuptools<81'
    touch "$venv/installed"
fi
exec "$venv/bin/python" tools/check_events.py "$target/release/messymash"
