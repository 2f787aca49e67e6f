# Two commands are all one needs: `make test` and `make demo`. Both need Python >= 3.11 and make, and nothing else:
# what they use goes into .venv, beside this file.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.PHONY: help venv test interop demo check cov cov-report sim mutants bench wheel clean

help:
	@echo "make test    run the tests"
	@echo "make interop run the tests beside a live Apache ZooKeeper, which Debian has as the package zookeeper"
	@echo "make demo    watch three replicas, five workers, a crash and a late holder"
	@echo "make check   ruff and mypy --strict"
	@echo "make cov     the tests once more, with the branches they miss"
	@echo "make sim     simulate 300 ensembles under faults (SEEDS=300 FIRST_SEED=0 JOBS=2)"
	@echo "make mutants plant every known bug, and count the seeds that find it (STARTS=5 JOBS=2); takes half an hour"
	@echo "make bench   measure beside PySyncObj, kazoo, other rings and a ZooKeeper; takes a quarter of an hour"
	@echo "make wheel   build the source archive and the wheel into dist/"
	@echo "make clean   remove .venv and what tools left behind"

venv: $(STAMP)

# The stamp is younger than pyproject.toml as long as what is installed is what it asks for.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "zkcore needs Python 3.11 or later; say which with: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "$(PYTHON) makes no environments; Debian has python3-venv for that" >&2; exit 1; }
	$(RUN) -m pip install --quiet --editable '.[test]'
	@touch $(STAMP)

# As many workers as there are cores; the tests of one file run in one worker, one after the other.
test: venv
	$(RUN) -m pytest -q -n auto --dist loadfile -m "not zookeeper"

interop: venv
	$(RUN) -m pytest -q -m zookeeper

demo: venv
	$(RUN) examples/demo.py

check: venv
	$(RUN) -m ruff check .
	$(RUN) -m mypy

# What simulates and what parses a command line is left out, and so are the tests of those: traced, they take minutes.
# So are worlds played from seeds, which show nothing that the scripted tests of the recipes do not pass, and processes.
UNTRACED := tests/testing tests/cli tests/processes tests/tree/test_walked.py \
	tests/recipes/test_recipes_seeds.py tests/recipes/test_recipes_planted.py tests/test_examples.py

cov: venv
	$(RUN) -m coverage run -m pytest -q -m "not zookeeper" $(addprefix --ignore=,$(UNTRACED))
	@$(MAKE) --no-print-directory cov-report

# Of the run before.
cov-report:
	$(RUN) -m coverage report --omit='zkcore/testing/*,zkcore/cli/*,zkcore/__main__.py' --fail-under=94

SEEDS ?= 300
FIRST_SEED ?= 0
JOBS ?= 2

sim: venv
	$(RUN) -m zkcore sim run --seeds $(SEEDS) --first-seed $(FIRST_SEED) --jobs $(JOBS)

STARTS ?= 5

mutants: venv
	$(RUN) -m zkcore sim mutants --starts $(STARTS) --jobs $(JOBS)

bench: venv
	$(RUN) -m pip install --quiet --editable '.[bench]'
	$(RUN) benchmarks/inprocess.py
	$(RUN) benchmarks/recipes.py
	$(RUN) benchmarks/services.py
	$(RUN) benchmarks/ring.py
	$(RUN) benchmarks/tree.py
	$(RUN) benchmarks/pauses.py
	$(RUN) benchmarks/watches.py
	$(RUN) benchmarks/storage.py
	$(RUN) benchmarks/simulator.py
	$(RUN) benchmarks/processes.py
	$(RUN) benchmarks/failover.py
	$(RUN) benchmarks/client_protocol.py

wheel: venv
	$(RUN) -m build --outdir dist .

clean:
	rm -rf $(VENV) dist build .coverage .coverage.* htmlcov .pytest_cache .mypy_cache .ruff_cache .hypothesis
