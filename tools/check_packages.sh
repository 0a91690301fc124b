#!/bin/sh
# The crates as they would be published: each must fit into crates.io's 10 MB, and the library must compile from what its package
# holds alone (with the kernels' package, which is not published yet).
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
packages=$target/package
rm -rf "$packages"/messymash*
# --allow-dirty, since what is committed is not what this is about.
cargo package --workspace --allow-dirty --no-verify --quiet
for crate in messymash-kernels messymash messymash-cli; do
    set -- "$packages/$crate"-[0-9]*.crate
    size=$(wc -c < "$1")
    echo "$(basename "$1") $size bytes"
    if [ "$size" -gt 10000000 ]; then
        echo "$1 is larger than crates.io takes (10 MB)" >&2
        exit 1
    fi
    tar -xzf "$1" -C "$packages"
done
version=$(basename "$packages"/messymash-[0-9]*.crate .crate)
kernels=$(echo "$packages"/messymash-kernels-[0-9]*[0-9])
cargo check --quiet --manifest-path "$packages/$version/Cargo.toml" --target-dir "$target" \
    --config "patch.crates-io.messymash-kernels.path=\"$kernels\""
echo "$version compiles from its package"
