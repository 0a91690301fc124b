#!/bin/sh
# Runs what the pages of the book say (check_book.py) with the program of target/release and the wheel, which is built here.
set -eu
cd "$(dirname "$0")/.."
. tools/python_venv.sh
exec "$venv/bin/python" tools/check_book.py "${CARGO_TARGET_DIR:-target}/release/messymash" "$@"
