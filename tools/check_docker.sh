#!/usr/bin/env bash
# What `docker build` and `docker run` do, without Docker: what is committed, in a folder of its own; the Dockerfile's command, on
# this system; what comes of it, alone in an empty root (no /tmp, /etc, /proc), as user 1000, in a network of its own. Compiles
# everything, which takes minutes; needs curl, file, ip (Debian: iproute2) and a kernel that lets one make namespaces.
set -euo pipefail
cd "$(dirname "$0")/.."
samples=$PWD/samples

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src" "$work/root"

# The last instruction of a kind in the Dockerfile; a list of words as words.
instruction() { sed -n "s/^$1 //p" Dockerfile | tail -1 | sed -E 's/^\["?//; s/"?\]$//; s/", *"/ /g'; }

git archive HEAD | tar -x -C "$work/src"
while read -r ignored; do rm -rf "${work:?}/src/$ignored"; done <.dockerignore
build=$(instruction RUN)
echo "$build"
(cd "$work/src" && env -u CARGO_TARGET_DIR sh -euc "${build//\/out/$work\/out}")

read -r _ from to <<<"$(instruction 'COPY --from=build' | sed 's/^/- /')"
cp "$work$from" "$work/root$to"
file "$work/root$to"
if ! file "$work/root$to" | grep -qE 'static-pie linked|statically linked'; then
    echo "$to is no static program" >&2
    exit 1
fi

# In its own network, so that the Dockerfile's address and port are free; port by its word.
try() {
    ip link set lo up
    # What the container sees: nothing but the program, and a user without a name.
    # shellcheck disable=SC2086
    env -i unshare --user --map-user="${user%:*}" --map-group="${user#*:}" --root="$work/root" $command &
    service=$!
    trap 'kill -KILL $service 2>/dev/null || true' EXIT
    url=http://127.0.0.1:$port
    curl -sS --fail --retry 100 --retry-delay 1 --retry-all-errors --retry-max-time 100 "$url/readyz" 2>/dev/null
    echo
    curl -sS --fail --data-binary @"$samples/mashup.flac" "$url/v1/classify?top_k=3" | tee "$work/answer"
    echo
    grep -q '"predictions":\[{"label":' "$work/answer"
    curl -sS --fail "$url/metrics" | grep -x 'messymash_ready 1'
    kill -TERM $service
    wait $service # what it says is what the container would
    trap - EXIT
}
export -f try
export work samples
port=$(instruction EXPOSE) user=$(instruction USER) command="$(instruction ENTRYPOINT) $(instruction CMD)"
export port user command
echo "user $user: $command"
unshare --user --map-root-user --net bash -euo pipefail -c try
echo "the Dockerfile's program serves from an empty root and ends with 0"
