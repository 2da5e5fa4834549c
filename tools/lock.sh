#!/bin/sh
# Writes the lock files again: what `make setup`, the tests, the container and a user of every command install, for every
# Python that inetprobe supports, with the digests of what the registry has today. `make check-newest` shows beforehand
# what the newest would break.
set -eu
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
/usr/bin/python3 -m venv "$folder"
"$folder/bin/python" -m pip install -q --disable-pip-version-check uv

lock() { # FILE ORIGIN, and for uv: INPUT [OPTION…]
    file=tools/lock/$1
    origin=$2
    shift 2
    "$folder/bin/uv" pip compile -q "$@" --universal --python-version 3.11 \
        --generate-hashes --no-annotate --no-header -o "$folder/lock"
    { echo "# Made by tools/lock.sh of pyproject.toml's $origin."; cat "$folder/lock"; } >"$file"
    echo "lock: $file: $(grep -c '^[a-z]' "$file") packages"
    rm "$folder/lock"
}

lock tests.txt "dev build" pyproject.toml --extra dev --extra build
# The others have the same versions.
set -- -c tools/lock/tests.txt
lock trace.txt "vm build" pyproject.toml --extra vm --extra build "$@"
lock serve.txt serve pyproject.toml --extra serve "$@"
lock all.txt all pyproject.toml --extra all "$@"
# What makes a wheel, and nothing of what inetprobe itself needs.
/usr/bin/python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"])' \
    >"$folder/requires.in"
lock build.txt build-system "$folder/requires.in" "$@"
