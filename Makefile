# Every target sets up what it needs first; the second time that takes no work. Tracing needs much less than the tests.
BIN := .venv/bin
PYTHON := $(BIN)/python

FUZZ_SECONDS := 60
SOAK_SECONDS := 3600
FUZZ :=

.PHONY: help setup test-setup trace check check-newest check-lowest check-pythons browsertest charts man tutorial \
    prometheustest sparktest vmtest live test-kernels test-systems soak test fuzz bench mutants lock dist
.DEFAULT_GOAL := help
.NOTPARALLEL:

help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 24

setup: .venv/ready ## make .venv/ with inetprobe in it (Debian packages too, where missing): what tracing needs

.venv/ready: pyproject.toml tools/setup.sh tools/lock/trace.txt
	@tools/setup.sh trace

test-setup: .venv/tests-ready ## add what the tests need

.venv/tests-ready: .venv/ready tools/lock/tests.txt
	@tools/setup.sh tests

trace: setup ## trace a small workload: on this kernel where it can be traced, else in a VM
	@tools/trace.sh

check: test-setup ## linters, types, spelling and the fast tests: two minutes on two CPUs
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	git ls-files -z | xargs -0 $(BIN)/codespell
	$(PYTHON) -m pytest -q -n auto --dist worksteal

check-newest: test-setup ## the same with the newest of every package, in build/newest
	@tools/setup.sh newest
	$(MAKE) check BIN=build/newest/bin

# Linters are the newest's business: they say nothing of the lower bounds.
check-lowest: test-setup ## types and the fast tests with the lowest version of every package, in build/lowest
	@tools/setup.sh lowest
	build/lowest/bin/mypy
	build/lowest/bin/python -m pytest -q -n auto --dist worksteal

check-pythons: test-setup ## types and the fast tests under each Python of pyproject.toml that can be had, in build/python-3.N
	$(BIN)/ruff check
	$(PYTHON) tools/pythons.py

dist: test-setup ## sdist, wheel, CycloneDX SBOM and licence list into dist/; the same bytes for the same commit
	$(PYTHON) -m tools.dist

lock: ## write tools/lock/ again, with the newest versions: what setup installs
	tools/lock.sh

browsertest: test-setup ## the report's page in a real Chromium: opens alone, axe, dark and light, prints, a million sockets
	$(PYTHON) -m pytest -q tests/browser

prometheustest: test-setup ## a real Prometheus over a replayed workload: counts, rules, every query of the dashboard
	$(PYTHON) -m pytest -q tests/prometheus

# Where another Node.js stands, Debian's npm cannot be installed beside it, and need not be: it has its own.
.venv/viewers-ready: .venv/tests-ready
	@command -v npm >/dev/null || tools/setup.sh packages npm
	@touch $@

sparktest: test-setup .venv/viewers-ready ## Spark answers as DuckDB does; Perfetto's UI and speedscope open an export
	$(PYTHON) -m pytest -q tests/spark tests/viewers

vmtest: test-setup ## what the VM promises: boots, streams, exit statuses, Ctrl-C
	$(PYTHON) -m pytest -q tests/boot

live: test-setup ## the live tests in three VMs, and docs/tutorial.md in another
	$(PYTHON) tools/suites.py live tutorial

test-kernels: test-setup ## the live tests on Debian's 5.10, 6.1, 6.12, 7.2 and 7.3: an hour and a half
	$(PYTHON) -m tools.kernels

.venv/systems-ready: .venv/tests-ready
	@tools/setup.sh packages mmdebstrap uidmap
	@touch $@

test-systems: test-setup .venv/systems-ready ## the installed package on Debian 12, 13 and sid; writes docs/support.md
	$(PYTHON) -m tools.systems

soak: test-setup ## serve and record among all that befalls a machine, for SOAK_SECONDS (an hour); a million sockets
	INETPROBE_SOAK_SECONDS=$(SOAK_SECONDS) $(PYTHON) -m tools.live --name soak --cpus 2 -q -s tests/soak

test: check .venv/viewers-ready .venv/systems-ready ## everything; what each suite prints stays in build/SUITE.txt
	$(PYTHON) tools/suites.py

.venv/fuzz-ready: .venv/tests-ready
	.venv/bin/python -m pip install -q --disable-pip-version-check -e '.[fuzz]'
	@touch $@

# FUZZ=NAME: one target alone (a module of tests/fuzz/targets).
fuzz: test-setup .venv/fuzz-ready ## fuzz all that strangers feed, FUZZ_SECONDS (60) each; what it finds stays in build/fuzz/
	$(PYTHON) -m tests.fuzz.run_all $(FUZZ_SECONDS) $(FUZZ)

man: setup ## man pages into docs/man/, from what the commands declare
	$(PYTHON) tools/man.py docs/man
	$(PYTHON) -m tools.rules docs/rules

tutorial: test-setup ## type docs/tutorial.md anew in a VM and write into it what is printed now, to be read and committed
	INETPROBE_RENEW_TUTORIAL=1 $(PYTHON) -m tools.live -q tests/live/test_tutorial.py

charts: ## the newest chart libraries into the report's page (npm), to be looked at and committed
	tools/charts.sh

.venv/bench-ready: .venv/tests-ready
	@tools/setup.sh packages trace-cmd linux-perf bpfcc-tools
	@touch $@

bench: test-setup .venv/bench-ready ## measurements in one table, beside the peers: a quarter of an hour
	$(PYTHON) -m tests.bench
	$(PYTHON) -m tests.bench.bench_report

.venv/mutants-ready: .venv/tests-ready
	.venv/bin/python -m pip install -q --disable-pip-version-check -e '.[mutants]'
	@touch $@

mutants: test-setup .venv/mutants-ready ## break the model one rule at a time: how many of the breaks do the tests see?
	.venv/bin/mutmut run
	.venv/bin/mutmut results
