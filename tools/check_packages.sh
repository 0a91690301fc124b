#!/bin/sh
# The crates as they would be published: each must fit into crates.io's 10 MB, and they must compile from what their packages hold alone.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
packages=$target/package
rm -rf "$packages"
# --allow-dirty, since what is committed is not what this is about.
cargo package --workspace --allow-dirty --no-verify --quiet
# The packages in the place of the crates, in a workspace like this one: all together first, with the features that clippy has
# checked the dependencies with, so that they are not checked again; then the library by itself, as others will have it.
mkdir -p "$packages/workspace/crates"
cp -R Cargo.toml Cargo.lock "$packages/workspace"
cp -R crates/python "$packages/workspace/crates"
for crate in messymash-kernels messymash messymash-cli; do
    set -- "$packages/$crate"-[0-9]*.crate
    size=$(wc -c < "$1")
    echo "$(basename "$1") $size bytes"
    if [ "$size" -gt 10000000 ]; then
        echo "$1 is larger than crates.io takes (10 MB)" >&2
        exit 1
    fi
    tar -xzf "$1" -C "$packages"
    folder=$packages/workspace/crates/${crate#messymash-}
    mv "$packages/$(basename "$1" .crate)" "$folder"
    # As it was written: what Cargo made of it looks for the other crates in the registry.
    mv "$folder/Cargo.toml.orig" "$folder/Cargo.toml"
done
set -- cargo check --quiet --locked --manifest-path "$packages/workspace/Cargo.toml" --target-dir "$target"
"$@" --workspace
"$@" --package messymash
echo "they compile from their packages, and the library by itself"
