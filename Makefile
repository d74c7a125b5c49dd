# Thin: every target is one command in the environment .venv. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
CORES ?= $(shell getconf _NPROCESSORS_ONLN)
BIN := .venv/bin
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
INSTALL := $(BIN)/python envs/install.py
PEERS := rectools replay recbole

.DEFAULT_GOAL := help
.PHONY: help setup demo report own page results compare plan check publish tune accept-tuning regression regression-selftest accept-golden equal test test-all test-cluster faults browser lint audit fuzz parity bench bench-peers lock image wheelhouse

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-19s %s\n", $$1, $$2}' Makefile
	@echo "Variables: PYTHON (interpreter for .venv), CORES, TORCH_INDEX (pip index to take torch from), CUDA=1;"
	@echo "for report, plan, check, publish, tune, accept-tuning: CONFIGFILES=\"a.yaml b.yaml\", files merged over config/config.yaml, the"
	@echo "  same for all of them: without those of the run, check and publish start the whole default comparison (CONFIG= is an older name);"
	@echo "for regression: BASE (revision to time against), BUDGET_S (seconds); for regression-selftest: REPEATS, BUDGET_S; for equal: OLD, NEW;"
	@echo "for fuzz: MINUTES;"
	@echo "for bench-peers: DATA (folder of a prepared dataset), BUDGET_S (seconds for all of it)"

setup: .venv/.setup$(if $(CUDA),-cuda) $(if $(SLURM),.venv/.setup-slurm)  ## create .venv with the pinned dependencies; CUDA=1 builds the kernels too, SLURM=1 for a cluster, OFFLINE=wheelhouse needs no network

.venv/.setup: export TORCH_INDEX := $(TORCH_INDEX)
.venv/.setup: pyproject.toml envs/lock.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "error: Python 3.11, 3.12 or 3.13 is needed; make PYTHON=python3.12 setup")'
ifdef OFFLINE
	@$(PYTHON) envs/wheelhouse.py install '$(OFFLINE)'
else
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "setup: packages, each held against the lock's hashes, and torch"
	@$(INSTALL) base dev torch
endif
	@touch $@

# uv writes the lock and is in none: an environment of its own, so that a lock that fits no more does not stop it.
lock:  ## resolve the pins of pyproject.toml into envs/lock.txt, with hashes, for every Python and platform; UPGRADE=1 takes newer versions of the rest
	@test -x .venv-lock/bin/python || $(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/python $(PIP_INSTALL) $$($(PYTHON) envs/pins.py written lock)
	@.venv-lock/bin/uv --quiet pip compile pyproject.toml --all-extras --universal --generate-hashes --no-emit-package torch \
	  --custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade) --output-file envs/lock.txt
	@$(PYTHON) envs/pins.py mark

ENGINE ?= $(if $(shell command -v podman),podman,docker)
KIND := $(if $(CUDA),cuda,cpu)

image:  ## a container image by the Containerfile; CUDA=1 one with the kernels, ENGINE= podman or docker, TORCH_INDEX= as for setup
	$(ENGINE) build --file Containerfile --target $(KIND) $(if $(TORCH_INDEX),--build-arg TORCH_INDEX='$(TORCH_INDEX)') --tag seqrec-efficiency:$(KIND) .

# No set-up: any Python with pip, where there is network.
wheelhouse:  ## what a machine without network lacks, as wheels under 60 MB: OUT= (wheelhouse), FOR=3.12-x86_64 (that machine's Python and processor)
	@$(PYTHON) envs/wheelhouse.py pack '$(or $(OUT),wheelhouse)' $(if $(FOR),--for '$(FOR)')

.venv/.setup-cuda: .venv/.setup
	$(INSTALL) cuda kernels
	$(BIN)/python -m seqbench selfcheck
	@touch $@

.venv/.setup-slurm: .venv/.setup
	@test -z '$(OFFLINE)' || { echo 'error: SLURM=1 with OFFLINE=: a wheelhouse has no plugin for Slurm; make setup SLURM=1 where there is network' >&2; exit 2; }
	@echo "setup: Snakemake's plugin for Slurm"
	@$(INSTALL) slurm
	@touch $@

demo: setup  ## the whole comparison on small synthetic data: CPU, minutes, no data downloaded
	$(BIN)/snakemake --cores $(CORES) report --configfile config/demo.yaml
	@echo "The report is at file://$(CURDIR)/report/index.html"

MERGED = $(if $(CONFIGFILES)$(CONFIG),--configfile $(or $(CONFIGFILES),$(CONFIG)))

report: setup  ## the comparison of config/config.yaml; CONFIGFILES= files merged over it
	$(BIN)/snakemake --cores $(CORES) report $(MERGED)
	@echo "The report is at file://$(CURDIR)/report/index.html"

# The variables reach the program by the environment: a shell would read quotes in them.
own: export CSV := $(value CSV)
own: export COLUMNS := $(value COLUMNS)
own: export TIME := $(value TIME)
own: setup  ## your own interactions to a leaderboard; CSV=file, COLUMNS="{user: .., item: .., time: ..}" names its columns, TIME=unix, unix-ms, rank or none
	@$(BIN)/python -m tools.own
	$(BIN)/snakemake --cores $(CORES) report --configfile config/quick.yaml results/own.yaml
	$(BIN)/python -m seqbench results

page: setup  ## the page of all records in a folder, nothing is trained; RECORDS= (results/reference), OUT= (report)
	$(BIN)/python -m seqbench page --records '$(or $(RECORDS),results/reference)' --out '$(or $(OUT),report)'

results: setup  ## the leaderboard in the terminal; RECORDS= (results), DATASET=, LENGTH=, TRACK=, SEEN=, MACHINE=
	@$(BIN)/python -m seqbench results $(if $(RECORDS),--records '$(RECORDS)') $(if $(DATASET),--dataset '$(DATASET)') \
	  $(if $(LENGTH),--length $(LENGTH)) $(if $(TRACK),--track '$(TRACK)') $(if $(SEEN),--seen $(SEEN)) $(if $(MACHINE),--machine '$(MACHINE)')

compare: setup  ## folder of records B= against A=: quality with intervals, ratios of cost
	@test -n '$(A)' -a -n '$(B)' || { echo 'error: compare: names no two folders; say make compare A=results B=results/reference/<machine>' >&2; exit 2; }
	@$(BIN)/python -m seqbench compare '$(A)' '$(B)'

plan: setup  ## jobs, hours and disk before anything starts; CONFIGFILES= as for the run
	@$(BIN)/python -m seqbench plan $(or $(CONFIGFILES),$(CONFIG))

check: setup  ## fail if a result is implausible (a trained model below Popularity, a missing record); CONFIGFILES= as for the run
	$(BIN)/snakemake --cores $(CORES) check $(MERGED)

publish: setup  ## write what is committed: results/reference/<machine>/, the page of all machines, the README's findings; CONFIGFILES= as for the run
	$(BIN)/snakemake --cores $(CORES) publish $(MERGED)

# Status 3, "cannot tell", does not fail; the command itself tells it apart.
regression: setup  ## counts and golden metrics; with BASE=<revision> wall time against it too, BUDGET_S= seconds
	$(BIN)/python -m tools.gate --out results/regression $(if $(BASE),--base $(BASE)) \
	  $(if $(BUDGET_S),--budget-s $(BUDGET_S)) || [ $$? -eq 3 ]

regression-selftest: setup  ## does the gate find what is planted, and name it? BUDGET_S= of each comparison, REPEATS=
	$(BIN)/python -m tools.gate selftest --out results/regression $(if $(BUDGET_S),--budget-s $(BUDGET_S)) \
	  $(if $(REPEATS),--repeats $(REPEATS))

accept-golden: setup  ## accept this checkout's counts and golden metrics: rewrites results/reference/golden.json
	$(BIN)/python -m tools.gate --out results/regression --accept

equal: setup  ## prove that OLD=<revision> and NEW=<revision> (default HEAD) give equal numbers; equal identities are written
	$(BIN)/python -m tools.gate equal --write $(OLD) $(NEW)

tune: setup  ## equal tuning: so many trials per model and dataset; CONFIGFILES= files merged over config/config.yaml
	$(BIN)/snakemake --cores $(CORES) tune $(MERGED)

accept-tuning: setup  ## write the winners into config/tuned.yaml, publish the trials; CONFIGFILES= as for the search
	$(BIN)/python -m seqbench accept-tuning --results results --tuned config/tuned.yaml --readme README.md $(MERGED)

.venv/.setup-test: .venv/.setup
	@echo "setup: Triton, for the tests of its kernels in its interpreter"
	@$(INSTALL) interpreter
	@touch $@

# A file's tests stay in one process, so that what they share is made once.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile
APART := --ignore=tests/browser --ignore=tests/cluster

.venv/.setup-browser: .venv/.setup
	@echo "setup: Playwright and axe-core, for the tests of the page"
	@$(INSTALL) browser
	@touch $@

test: setup  ## the fast tests: minutes; the slow ones, marked so, are for test-all
	$(PYTEST) -m "not slow" $(APART)

test-all: setup .venv/.setup-test  ## all tests that this machine can run
	$(PYTEST) $(APART)

faults: setup  ## kills at random moments of every stage against a run that nobody killed, an hour and more; FAULTS_KILLS= (300), FAULTS_SEED= (0)
	$(BIN)/python tests/faults/kills.py --kills $(or $(FAULTS_KILLS),300) --seed $(or $(FAULTS_SEED),0) --out results/faults

browser: setup .venv/.setup-browser  ## the page in the Chromium of this machine; SEQBENCH_BROWSER names another one, SEQBENCH_NO_SKIP=1 wants one
	$(PYTEST) tests/browser

# In a folder of its own: Snakemake loads every plugin that it finds, at each start, and this one loads pandas.
.venv/.setup-cluster: .venv/.setup
	@echo "setup: Snakemake's plugin for Slurm, for the tests"
	@$(INSTALL) --into .venv/cluster slurm
	@touch $@

# apt installs what is missing, where it can; elsewhere the tests are skipped and say why.
test-cluster: setup .venv/.setup-cluster  ## a real Slurm of two pretended nodes on this machine, as root on Debian or Ubuntu: 25 minutes; ONLY=smoke: 4, SEQBENCH_NO_SKIP=1 wants one
	@$(BIN)/python tests/cluster/slurm.py
	$(BIN)/python -m pytest -v --durations=0 tests/cluster$(if $(ONLY),/test_$(ONLY).py)

parity: setup .venv-peers/recbole.made  ## our splits, scores, losses and metrics against RecBole's, in its own environment
	@test -e .venv-peers/recbole.made || { echo "parity: RecBole's environment could not be made (see above); nothing was compared"; exit 1; }
	$(BIN)/python -m pytest tests/parity -s

lint: setup  ## the formatters and linters of Python, Snakemake and the Containerfile, and bandit for what is unsafe
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive seqbench models tools envs
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/hadolint Containerfile
	$(BIN)/snakemake --lint

audit: setup  ## are the installed packages the locked ones, as they were packed; known faults by pip-audit, where it and a network are there
	$(BIN)/python envs/audit.py

fuzz: setup  ## draw files, configurations, servers and commands for MINUTES= (60); what fails stands in results/fuzz.log
	$(BIN)/python tests/faults/fuzz.py --minutes $(or $(MINUTES),60)

bench: setup  ## speed of the hot paths (pytest-benchmark)
	$(BIN)/python -m pytest tests/bench --benchmark-enable --benchmark-only

bench-peers: setup $(PEERS:%=.venv-peers/%.made)  ## our training against RecTools, RePlay and RecBole on the same data
	$(BIN)/python -m tools.peers $(if $(DATA),--data '$(DATA)') $(if $(BUDGET_S),--budget-s $(BUDGET_S))

# A peer that cannot be installed leaves pip's words in .failed and no stamp: the benchmark names it and goes on.
.venv-peers/%.made: envs/peers/%.txt
	@mkdir -p .venv-peers
	@echo "peers: environment of $*"
	@{ $(PYTHON) -m venv .venv-peers/$* && \
	  .venv-peers/$*/bin/python $(PIP_INSTALL) $$(grep '^torch==' $<) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) && \
	  .venv-peers/$*/bin/python $(PIP_INSTALL) --requirement $<; } 2> .venv-peers/$*.failed && rm .venv-peers/$*.failed && touch $@ \
	  || { grep -m 1 '^ERROR' .venv-peers/$*.failed || tail -n 1 .venv-peers/$*.failed; rm -f $@; }
