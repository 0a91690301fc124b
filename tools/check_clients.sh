#!/usr/bin/env bash
# The real clients against the service: huggingface_hub, gradio_client, @huggingface/inference, the lines of docs/serving.md, and
# schemathesis against the OpenAPI document. Packages go into target/; the service is started here and ended here.
set -euo pipefail
cd "$(dirname "$0")/.."

program="${CARGO_TARGET_DIR:-target}/release/messymash"
packages=target/clients
mkdir -p "$packages"
if ! cmp -s tools/requirements-clients.txt "$packages/installed"; then
    python3 -m venv "$packages/venv"
    "$packages/venv/bin/pip" install --quiet --disable-pip-version-check -r tools/requirements-clients.txt
    npm install --silent --no-audit --no-fund --prefix "$packages" @huggingface/inference@4.13.30
    cp tools/requirements-clients.txt "$packages/installed"
fi

log=$(mktemp)
"${MESSYMASH:-$program}" serve --port 0 2>"$log" &
service=$!
trap 'kill "$service" 2>/dev/null || true; wait "$service" || true; rm -f "$log"' EXIT
for _ in $(seq 300); do
    grep -q 'is ready at' "$log" && break
    kill -0 "$service" || { cat "$log"; exit 1; }
    sleep 0.1
done
url=$(grep -o 'http://[0-9.:]*' "$log")

"$packages/venv/bin/python" tools/check_clients.py "$url"
# Packages are found from where a script lies.
cp tools/check_clients.mjs "$packages/"
node "$packages/check_clients.mjs" "$url"
# Whatever comes, the answer is one that the document promises, and never a fault of the service. Any sound file would do for a
# request that succeeds; schemathesis has none, so that refusals are what most of its requests see.
"$packages/venv/bin/schemathesis" run "$url/openapi.json" --url "$url" --max-examples "${EXAMPLES:-8}" --seed 1 \
    --phases examples,coverage,fuzzing --request-timeout 30 --suppress-health-check all \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,unsupported_method
curl -sS --fail "$url/metrics" | grep -x 'messymash_panics_total 0'
