#!/bin/sh
# Writes the lock files again: what `make setup` and the tests install, for every Python that inetprobe supports, with
# the digests of what the registry has today. `make check-newest` shows beforehand what the newest would break.
set -eu
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
/usr/bin/python3 -m venv "$folder"
"$folder/bin/python" -m pip install -q --disable-pip-version-check uv

lock() { # FILE EXTRAS [OPTION…]
    file=tools/lock/$1
    extras=$2
    shift 2
    # shellcheck disable=SC2046 # a list of words
    "$folder/bin/uv" pip compile -q pyproject.toml $(printf ' --extra %s' $extras) --universal --python-version 3.11 \
        --generate-hashes --no-annotate --no-header -o "$folder/lock" "$@"
    { echo "# Made by tools/lock.sh of pyproject.toml's $extras."; cat "$folder/lock"; } >"$file"
    echo "lock: $file: $(grep -c '^[a-z]' "$file") packages"
    rm "$folder/lock"
}

lock tests.txt "dev build"
lock trace.txt "vm build" -c tools/lock/tests.txt # the same versions
