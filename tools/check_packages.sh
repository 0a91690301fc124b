#!/bin/sh
# The crates as they would be published: each must be built from its package alone, and fit into crates.io's 10 MB.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
rm -f "$target"/package/messymash*.crate
# Checked in the dev profile; --allow-dirty, since what is committed is not what this is about.
cargo package --workspace --allow-dirty --quiet
for crate in messymash-kernels messymash messymash-cli; do
    set -- "$target/package/$crate"-[0-9]*.crate
    size=$(wc -c < "$1")
    echo "$(basename "$1") $size bytes"
    if [ "$size" -gt 10000000 ]; then
        echo "$1 is larger than crates.io takes (10 MB)" >&2
        exit 1
    fi
done
