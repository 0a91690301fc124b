#!/bin/sh
# Live parity of the Python package with transformers and PyTorch: builds the wheel, puts it into a folder (the reference's
# environment stays as it is), and runs reference_wheel.py with both. Run `tools/reference.sh` before.
set -eu
cd "$(dirname "$0")/.."
python=${REFERENCE_VENV:-target/reference-venv}/bin/python
target=$(mktemp -d)
trap 'rm -rf "$target"' EXIT
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target} "$python" -m pip install --quiet --no-deps --target "$target" .
PYTHONPATH=$target "$python" tools/reference_wheel.py
