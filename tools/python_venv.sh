# Sourced in the project's folder: builds the wheel by `pip install .` into an environment of its own, $venv in target/.
# shellcheck shell=sh
venv=target/python-venv
if ! [ -e "$venv/installed" ]; then
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet 'pytest>=8' 'mypy>=1.15,<3' 'beets>=2,<3'
    touch "$venv/installed"
fi
# The program's own target directory: with MATURIN_PEP517_ARGS="--profile dev" what `cargo test` compiled is not compiled again.
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target} "$venv/bin/python" -m pip install --quiet --force-reinstall --no-deps .
"$venv/bin/python" -m pip install --quiet 'numpy>=1.26'
