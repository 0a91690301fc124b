#!/bin/sh
# Starts the program of target/release as a service on a free port, drives its page in Debian's chromium (tools/page), and
# stops it. What is missing is installed by name: chromium and fonts from Debian, two packages from npm. Pictures of every
# state at three widths, light and dark, are left in tools/page/screenshots.
set -eu
cd "$(dirname "$0")/.."
program=${CARGO_TARGET_DIR:-target}/release/messymash
work=$(mktemp -d)
service=
stop() {
    if [ -n "$service" ]; then
        kill "$service" 2>/dev/null || true
        wait "$service" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

missing=
[ -x "${CHROMIUM:-/usr/bin/chromium}" ] || missing="chromium fonts-liberation"
command -v npm >/dev/null || missing="$missing nodejs npm"
if [ -n "$missing" ]; then
    apt-get update -qq
    # shellcheck disable=SC2086 # several names
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
fi
if ! cmp -s tools/page/package-lock.json tools/page/node_modules/installed; then
    # Neither package needs its scripts; the one of a browser's downloader must not run.
    npm --prefix tools/page ci --ignore-scripts --no-audit --no-fund
    cp tools/page/package-lock.json tools/page/node_modules/installed
fi

# An hour of sound is one of the tests, and the machine may have other things to do.
"$program" serve --port 0 --max-seconds 4000 --deadline 600 --queue-timeout 120 2>"$work/log" &
service=$!
tries=0
until address=$(sed -n 's/.* is ready at \(http:[^ ]*\).*/\1/p' "$work/log") && [ -n "$address" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 300 ] || ! kill -0 "$service" 2>/dev/null; then
        echo "the service does not start:" >&2
        cat "$work/log" >&2
        exit 1
    fi
    sleep 0.2
done

rm -rf tools/page/screenshots
status=0
# The whole takes a minute. Chromium has been seen to hang for good on a key press, where nothing has a time limit: then, and only
# then, it is tried once more.
tests() { MESSYMASH_URL=$address timeout --kill-after=10 400 npm --prefix tools/page test; }
tests || status=$?
if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
    echo "the browser hung; once more" >&2
    pkill -f page.test.mjs || true
    status=0
    tests || status=$?
fi
if [ "$status" -ne 0 ]; then
    echo "what the service said:" >&2
    cat "$work/log" >&2
fi
exit "$status"
