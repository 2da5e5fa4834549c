# Every target sets up what it needs first; the second time that takes no work.
PYTHON := .venv/bin/python

FUZZ_SECONDS := 60

.PHONY: help setup trace check browsertest charts man tutorial deploytest sparktest vmtest live test-kernels soak test fuzz bench mutants
.DEFAULT_GOAL := help
.NOTPARALLEL:

help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 24

setup: .venv/ready ## make .venv/ with inetprobe in it (Debian packages too, where missing)

.venv/ready: pyproject.toml tools/setup.sh
	@tools/setup.sh

trace: setup ## trace a small workload: on this kernel where it can be traced, else in a VM
	@tools/trace.sh

check: setup ## linters, types and the fast tests: a minute on two CPUs
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	$(PYTHON) -m pytest -q -n auto --dist worksteal

browsertest: setup ## the report's page in a real Chromium: opens alone, axe, dark and light, prints, a million sockets
	$(PYTHON) -m pytest -q tests/browser

deploytest: setup ## a real Prometheus over a replayed workload: counts, rules, every query of the dashboard
	$(PYTHON) -m pytest -q tests/prometheus

# Where another Node.js stands, Debian's npm cannot be installed beside it, and need not be: it has its own.
.venv/viewers-ready: .venv/ready
	@command -v npm >/dev/null || tools/setup.sh npm
	@touch $@

sparktest: setup .venv/viewers-ready ## Spark answers as DuckDB does; Perfetto's UI and speedscope open an export
	$(PYTHON) -m pytest -q tests/spark tests/viewers

vmtest: setup ## what the VM promises: boots, streams, exit statuses, Ctrl-C
	$(PYTHON) -m pytest -q tests/boot

live: setup ## the live tests, all in one VM, and docs/tutorial.md in another
	$(PYTHON) tools/live.py -q --durations=20 tests/live
	$(PYTHON) tools/live.py -q tests/live/test_tutorial.py

test-kernels: setup ## the live tests on Debian's 5.10, 6.1, 6.12 and 7.2, a boot each
	$(PYTHON) tools/kernels.py

soak: setup ## a million sockets in the VM, by both mechanisms (not part of test)
	$(PYTHON) tools/live.py -q -s tests/soak

test: check browsertest deploytest sparktest vmtest live ## everything

.venv/fuzz-ready: .venv/ready
	.venv/bin/python -m pip install -q --disable-pip-version-check -e '.[fuzz]'
	@touch $@

fuzz: setup .venv/fuzz-ready ## fuzz the reader of recordings for FUZZ_SECONDS (60); what it finds stays in build/fuzz/
	@mkdir -p build/fuzz/corpus
	$(PYTHON) -m tests.fuzz.fuzz_recording -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=1024 -timeout=10 \
	    -max_len=65536 -artifact_prefix=build/fuzz/ -print_final_stats=1 build/fuzz/corpus tests/fuzz/corpus

man: setup ## man pages into docs/man/, from what the commands declare
	$(PYTHON) tools/man.py docs/man

tutorial: setup ## type docs/tutorial.md anew in a VM and write into it what is printed now, to be read and committed
	INETPROBE_RENEW_TUTORIAL=1 $(PYTHON) tools/live.py -q tests/live/test_tutorial.py

charts: ## the newest chart libraries into the report's page (npm), to be looked at and committed
	tools/charts.sh

.venv/bench-ready: .venv/ready
	@tools/setup.sh trace-cmd linux-perf bpfcc-tools
	@touch $@

bench: setup .venv/bench-ready ## measurements in one table, beside the peers: a quarter of an hour
	$(PYTHON) -m tests.bench
	$(PYTHON) -m tests.bench.bench_report

.venv/mutants-ready: .venv/ready
	.venv/bin/python -m pip install -q --disable-pip-version-check -e '.[mutants]'
	@touch $@

mutants: setup .venv/mutants-ready ## break the model one rule at a time: how many of the breaks do the tests see?
	.venv/bin/mutmut run
	.venv/bin/mutmut results
