#!/bin/sh
# Makes .venv/ in the checkout with inetprobe in it: `setup.sh trace` has what tracing needs, `setup.sh tests` adds what
# the tests need, and `setup.sh packages NAME…` installs Debian packages. Called by make when something has changed; what
# is there already is left alone. Beside .venv it makes, each time afresh: `setup.sh newest` build/newest/ with the newest
# of everything, `setup.sh lowest` build/lowest/ with the lowest versions that pyproject.toml allows on the lowest Python,
# and `setup.sh python 3.N` build/python-3.N/ with the locked versions; status 4 says that there is no Python 3.N.
set -eu
cd "$(dirname "$0")/.."

# libbpfcc is BCC's compiler, which PyPI does not have. The VM: qemu-system-x86, busybox-static, kmod, file (virtme-ng
# asks it for a kernel's version), iproute2 (loopback).
trace_packages="libbpfcc python3-venv qemu-system-x86 busybox-static kmod file iproute2"
# The tests' independent witnesses: strace, bpftrace, clang, which compiles the BPF program without BCC, curl, systemd
# for systemd-analyze, gcc for structure layouts and programs to be traced, Chromium for the report's page and
# poppler-utils for what it prints, a Java for Spark, flamegraph.pl, which libdevel-nytprof-perl brings, jq and ping for
# the examples of --help, the shells that are completed in, mandoc.
test_packages="strace bpftrace clang curl systemd gcc libc6-dev chromium poppler-utils default-jre-headless
    libdevel-nytprof-perl jq iputils-ping zsh fish mandoc"
# The distribution's Python, which python3-venv is for, where it is new enough; else the first on PATH.
new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
python=/usr/bin/python3
new_enough $python || python=python3
log=build/setup.txt

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# Runs a command whose output nobody wants to read unless it fails.
quietly() {
    "$@" >>"$log" 2>&1 </dev/null || { tail -n 30 "$log" >&2; return 1; }
}

missing_packages() {
    for package in "$@"; do
        status=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
        case $status in ii*) ;; *) printf '%s ' "$package" ;; esac
    done
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive $sudo apt-get -q -y -o DPkg::Lock::Timeout=600 --no-install-recommends "$@"
}

# The lock of the package lists has no timeout of apt's own: another apt may hold it for a while.
update_lists() {
    for attempt in 1 2 3 4 5 6; do
        quietly apt_get update && return
        [ "$attempt" -lt 6 ] || break
        say "apt-get update failed, trying again in 10 s"
        sleep 10
    done
    say "the package lists could not be updated: going on with the old ones"
}

install_packages() {
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null || fail "this is no Debian: install what these packages hold yourself: $missing"
    sudo=
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "not root and no sudo: install these packages yourself: $missing"
        sudo="sudo DEBIAN_FRONTEND=noninteractive"
    fi
    update_lists
    # shellcheck disable=SC2086 # a list of words
    cost=$(apt_get install --print-uris $missing 2>>"$log" | awk '/^\047/ { n++; bytes += $3 }
        END { printf "%d Debian packages (%d MB to download)", n, bytes / 1e6 }')
    say "installing $cost: $missing"
    # shellcheck disable=SC2086
    quietly apt_get install $missing || fail "these packages could not be installed: $missing"
}

install_locked() { # LOCK: exactly the versions and digests that the file names, then inetprobe itself
    say "installing $(grep -c '^[a-z]' "$1") Python packages of $1 into .venv ($2)"
    quietly .venv/bin/python -m pip install --disable-pip-version-check --require-hashes -r "$1" ||
        fail "the packages of $1 could not be installed; the whole output is in $log"
    quietly .venv/bin/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e . ||
        fail "inetprobe could not be installed; the whole output is in $log"
    # pip leaves that to the first import, which in an emulated VM takes seconds.
    quietly .venv/bin/python -m compileall -q inetprobe || fail "inetprobe does not compile; see $log"
}

# uv finds and fetches Pythons, and installs lowest versions.
uv() {
    if ! [ -x build/uv/bin/uv ]; then
        python_found
        "$python" -m venv --clear build/uv
        quietly build/uv/bin/python -m pip install --disable-pip-version-check uv || fail "uv could not be installed"
    fi
    build/uv/bin/uv "$@"
}

is_python() { # VERSION PROGRAM: prints where the program really is
    "$2" -c 'import sys; v = "%d.%d" % sys.version_info[:2]; v == sys.argv[1] or sys.exit(1); print(sys.executable)' "$1" \
        2>>"$log"
}

# The path of Python VERSION: that of PATH, pyenv's, one that uv has or can fetch, Debian's unpacked into the cache.
find_python() { # VERSION
    is_python "$1" "python$1" || is_python "$1" "$(pyenv prefix "$1" 2>>"$log")/bin/python" ||
        { uv python install "$1" >>"$log" 2>&1 && uv python find --managed-python "$1"; } ||
        .venv/bin/python -m tests.support.debian_suite "$1" 2>>"$log"
}

# Makes build/NAME of Python VERSION; the status is 4 where that is not to be had.
make_venv() { # NAME VERSION
    if ! interpreter=$(find_python "$2"); then
        say "Python $2 is not on PATH, and neither pyenv, uv nor Debian's cached packages bring it: left out"
        exit 4
    fi
    say "making build/$1 of $interpreter"
    quietly uv venv --clear --python "$interpreter" "build/$1" || fail "build/$1 could not be made"
}

python_found() {
    new_enough "$python" || fail "$(command -v "$python" || echo python3) is not Python 3.11 or newer"
}

mkdir -p build
: >"$log"
stage=$1
shift
case $stage in
trace)
    case $PWD in *[[:space:]]*) say "this folder's path has a space in it: everything but the VM works here" ;; esac
    # shellcheck disable=SC2086
    install_packages $trace_packages
    python_found
    if ! .venv/bin/python -c '' 2>/dev/null; then
        say "making .venv of $(command -v "$python")"
        "$python" -m venv --clear .venv
    fi
    install_locked tools/lock/trace.txt "about 350 MB"
    .venv/bin/python -c 'import inetprobe' || fail "inetprobe cannot be imported from .venv"
    touch .venv/ready
    say "done: .venv/bin/inetprobe"
    ;;
tests)
    # shellcheck disable=SC2086
    install_packages $test_packages
    install_locked tools/lock/tests.txt "about 1,300 MB"
    # Prometheus, the tests' scraper, is unpacked into the cache: an installed one would begin to serve.
    quietly .venv/bin/python -m tests.support.prometheus || fail "Prometheus could not be fetched"
    touch .venv/tests-ready
    say "done: the tests have what they need"
    ;;
newest)
    python_found
    say "making build/newest with the newest of everything that pyproject.toml names"
    "$python" -m venv --clear build/newest
    quietly build/newest/bin/python -m pip install --disable-pip-version-check --upgrade --upgrade-strategy eager \
        -e '.[dev]' || fail "the newest packages could not be installed; the whole output is in $log"
    ;;
lowest)
    make_venv lowest 3.11
    quietly uv pip install --python build/lowest/bin/python --resolution lowest-direct -e '.[dev]' ||
        fail "the lowest versions could not be installed; the whole output is in $log"
    ;;
python)
    make_venv "python-$1" "$1"
    # PySpark, for the tests alone, has no wheels.
    quietly uv pip install --python "build/python-$1/bin/python" --only-binary :all: --no-binary pyspark \
        --require-hashes -r tools/lock/tests.txt || fail "the packages of tools/lock/tests.txt could not be installed"
    quietly uv pip install --python "build/python-$1/bin/python" --no-deps --no-build-isolation -e . ||
        fail "inetprobe could not be installed; the whole output is in $log"
    ;;
packages)
    install_packages "$@"
    ;;
*)
    fail "unknown stage $stage: give trace, tests, newest, lowest, python or packages"
    ;;
esac
