#!/bin/sh
# Runs tools/check_tags.py with the program of target/release, in an environment of its own with mutagen, mediafile and soundfile,
# which the first run makes in target/ (90 MB).
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
venv=target/tags-venv
if ! [ -e "$venv/installed" ]; then
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet 'mutagen>=1.47,<2' 'mediafile>=0.13' 'soundfile>=0.13,<1'
    touch "$venv/installed"
fi
exec "$venv/bin/python" tools/check_tags.py "$target/release/messymash"
