# make train, make test: all that a new user needs. Every target sets up .venv where it is missing.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: train test lint soak faults audit bench mutants image-test
.DEFAULT_GOAL := train

train: $(READY)  ## train the quick start: four tasks on a made-up graph, about a minute
	$(BIN)/python job/train.py

test: $(READY)  ## all tests but the long ones
	$(BIN)/python -m pytest -q -m "not soak"

lint: $(READY)  ## style and types, as CI checks them
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

soak: $(READY)  ## long grids and many seeds
	$(BIN)/python -m pytest -q -m soak

faults: $(READY)  ## every fault, as often as docs/faults.md says, which is made of the outcomes
	rm -f .faults.jsonl
	-GRAPHMTL_FAULTS=$(CURDIR)/.faults.jsonl $(BIN)/python -m pytest -q tests/chaos
	$(BIN)/python tests/chaos/faults.py .faults.jsonl > docs/faults.md

audit: $(READY)  ## known vulnerabilities of what is installed (asks the network), and hostile files
	$(BIN)/python -m pytest -q tests/test_structure.py tests/chaos/test_hostile.py
	test -x .audit/bin/pip-audit || $(PYTHON) -m venv .audit
	.audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	.audit/bin/python tests/audit.py "$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')"

mutants: $(READY)  ## classic bugs of trainers, seeded one at a time: a test finds each
	$(BIN)/python tests/mutants/run.py

image-test: $(READY)  ## build the image and run it as a cluster does (root; buildah, runc); IMAGE_ARGS go to buildah
	$(BIN)/python tests/image.py $(IMAGE_ARGS)

bench: $(READY)  ## measurements side by side; one table and one JSON each
	set -e; for script in benchmarks/[!_]*.py; do $(BIN)/python $$script; done

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@
