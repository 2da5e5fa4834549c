#!/bin/sh
# The main job, by itself: trace a small workload on this machine's kernel where it can be traced, else in a VM.
set -eu
cd "$(dirname "$0")/.."

inetprobe=.venv/bin/inetprobe
recording=traces.arrows
sudo=
[ "$(id -u)" -eq 0 ] || ! command -v sudo >/dev/null || sudo=sudo

trace_workload() {
    "$@" trace -o "$recording" -- .venv/bin/python tools/workload.py
}

if why=$($sudo $inetprobe doctor -q 2>&1); then
    echo "trace: this machine's kernel ($(uname -r)) can be traced: tracing on it"
    trace_workload $sudo $inetprobe
else
    echo "trace: this machine's kernel ($(uname -r)) cannot be traced, so a VM is: $(printf '%s\n' "$why" | head -n 1)"
    trace_workload $inetprobe vm --
fi
echo "trace: recorded in $recording; see it again with: $inetprobe replay $recording"
