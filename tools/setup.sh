#!/bin/sh
# Makes .venv/ in the checkout with inetprobe and its tools in it; called by `make setup` when something has changed.
# Arguments are more Debian packages, such as `make bench` needs.
set -eu
cd "$(dirname "$0")/.."

# python3-bpfcc is BCC, which PyPI does not have. The VM: qemu-system-x86, busybox-static, kmod, file (virtme-ng asks
# it for a kernel's version), iproute2 (loopback). The tests' independent witnesses: strace, bpftrace, curl, systemd for
# systemd-analyze, Chromium for the report's page and poppler-utils for what it prints, a Java for Spark, flamegraph.pl,
# which libdevel-nytprof-perl brings, jq and ping for the examples of --help, the shells that are completed in, mandoc.
packages="python3-bpfcc python3-venv qemu-system-x86 busybox-static kmod file iproute2 strace bpftrace curl systemd"
packages="$packages chromium poppler-utils default-jre-headless libdevel-nytprof-perl"
packages="$packages jq iputils-ping zsh fish mandoc $*"
python=/usr/bin/python3 # the one that python3-bpfcc installs its module for, whatever stands first on PATH

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

missing_packages() {
    for package in $packages; do
        status=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
        case $status in ii*) ;; *) printf '%s ' "$package" ;; esac
    done
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        command -v sudo >/dev/null || fail "not root and no sudo: install these packages yourself: $missing"
        sudo "$@"
    fi
}

apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 "$@" </dev/null
}

# The lock of the package lists has no timeout of apt's own: another apt may hold it for a while.
update_lists() {
    for attempt in 1 2 3 4 5 6; do
        apt_get update && return
        [ "$attempt" -lt 6 ] || break
        say "apt-get update failed, trying again in 10 s"
        sleep 10
    done
    say "the package lists could not be updated: going on with the old ones"
}

install_packages() {
    missing=$(missing_packages)
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null || fail "this is no Debian: install what these packages hold yourself: $missing"
    say "installing Debian packages: $missing"
    update_lists
    # shellcheck disable=SC2086 # a list of words
    apt_get install --no-install-recommends $missing || fail "these packages could not be installed: $missing"
}

make_venv() {
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$python is older than 3.11"
    if ! .venv/bin/python -c 'import bcc' 2>/dev/null; then
        say "making .venv from $python, which sees the system's bcc"
        "$python" -m venv --clear --system-site-packages .venv
    fi
    say "installing inetprobe and its tools into .venv"
    # Eagerly: what the system has of numpy or click may be too old for what pip installs beside it.
    .venv/bin/python -m pip install -q --disable-pip-version-check --upgrade --upgrade-strategy eager -e '.[vm,dev]'
}

install_packages
make_venv
# Prometheus, the tests' scraper, is unpacked into the cache: an installed one would begin to serve.
.venv/bin/python -m tests.support.prometheus >/dev/null || fail "Prometheus could not be fetched"
.venv/bin/python -c 'import bcc, inetprobe' || fail "bcc or inetprobe cannot be imported from .venv"
touch .venv/ready
say "done: .venv/bin/inetprobe"
