#!/bin/sh
# Brings the chart libraries of the report's page up to date: the newest d3 and Observable Plot, as npm has them, with
# their licences. Both are taken as they are published; after it, run `make browsertest` and look at a page.
set -eu
cd "$(dirname "$0")/../inetprobe/commands/report/assets/vendor"
command -v npm >/dev/null || { echo "charts: npm is missing: apt install npm" >&2; exit 1; }
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT

bring() { # PACKAGE FILE LICENCE
    mkdir "$folder/$3"
    archive=$(cd "$folder/$3" && npm pack --silent "$1")
    tar -xzf "$folder/$3/$archive" -C "$folder/$3" # npm has checked it against the registry's digest
    cp "$folder/$3/package/dist/$2" "$2"
    cp "$folder/$3/package/LICENSE" "$3"
    chmod 644 "$2" "$3"
    echo "charts: $archive"
}

bring d3 d3.min.js LICENSE.d3
bring @observablehq/plot plot.umd.min.js LICENSE.plot
sha256sum ./*.js | sed 's, \./, ,' > SHA256SUMS
