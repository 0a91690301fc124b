#!/bin/sh
# Builds the wheel by pip (optimised, but not in CI: see .ci/run), into an environment of its own in target/, and runs its tests,
# those of the tools that change a model's weights or make what a model learns from a teacher, and the check of its types. With
# --cluster also the tests of `messymash.ray`, of it on S3, and of the program for Spark (they install Ray, PySpark and moto, 1 GB;
# Spark needs Java 17).
set -eu
cd "$(dirname "$0")/.."
. tools/python_venv.sh
skip="--ignore=crates/python/tests/test_ray.py --ignore=crates/python/tests/test_s3.py --ignore=crates/python/tests/test_spark.py"
if [ "${1:-}" = --cluster ]; then
    "$venv/bin/python" -m pip install --quiet 'ray[data]>=2.40,<2.64' 'pyspark>=4,<5' 'moto[s3]>=5,<6' flask flask-cors
    skip=
fi
# shellcheck disable=SC2086 # several words
"$venv/bin/python" -m pytest --quiet $skip
"$venv/bin/python" -m pip install --quiet 'safetensors>=0.5' scipy scikit-learn soxr soundfile pytest-xdist # for the tools
"$venv/bin/python" -m pytest --quiet --numprocesses 2 tools/test_weights.py tools/test_teacher.py
cd crates/python
"../../$venv/bin/python" -m mypy --config-file ../../pyproject.toml python/messymash
"../../$venv/bin/python" -m mypy.stubtest messymash --mypy-config-file ../../pyproject.toml \
    --allowlist tests/stubtest-allowlist.txt --ignore-unused-allowlist # messymash.ray needs Ray, which --cluster installs
