# Two commands make and guard the book: `make book` and `make test`.  `make help` lists the rest.

VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
PYTHON := $(BIN)/python
STAMP := $(VENV)/installed
BENCH := .venv-bench
HTML := book/_build/html
ASSIGNMENT ?= 01_foundations
PYTHONS := python3 python3.14 python3.13 python3.12 python3.11 python
BUILD := $(BIN)/jupyter-book build . --path-output book --all -W -n --keep-going

# One thread a process: tests run side by side, results do not depend on the number of cores, and
# threads of small networks would wait for each other (chapter 03 took eight times as long).
test test-seeds verify mistakes execute assignments lab: export OMP_NUM_THREADS := 1
test test-seeds verify mistakes execute assignments lab: export OPENBLAS_NUM_THREADS := 1
test test-seeds verify mistakes execute assignments lab: export MKL_NUM_THREADS := 1
export PYTHONDONTWRITEBYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: help book test lab execute assignments grade bench lint format links pages lock test-seeds verify mistakes clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

book: $(STAMP) ## install what is missing, build the pages, and say where they lie
	@$(BUILD) --quiet
	@echo "The book is built. Open $(HTML)/index.html"

test: $(STAMP) assignments ## run everything that guards the book
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m pytest -n 2 --dist loadfile --nbval-lax --nbval-current-env \
		tests chapters book/template.ipynb book/_build/assignments/*/solution/*.ipynb

lab: $(STAMP) ## open JupyterLab with the chapters
	$(PYTHON) -m jupyterlab chapters

execute: $(STAMP) ## execute and stamp the chapters that are stale
	@$(PYTHON) book/tools/execute.py

assignments: $(STAMP) ## make the student notebooks, the autograders and the keys
	@$(PYTHON) book/tools/assignments.py build

grade: $(STAMP) ## grade the notebooks in SUBMISSIONS=folder for ASSIGNMENT=name
	@$(PYTHON) book/tools/grade.py "$(SUBMISSIONS)" --assignment $(ASSIGNMENT) $(if $(TRUST),--trust) \
		$(if $(ROSTER),--roster "$(ROSTER)") $(if $(MARKS),--marks "$(MARKS)") $(if $(JOBS),--jobs $(JOBS))

bench: $(BENCH)/installed ## measure speed against pythae, and print a table
	@$(BENCH)/bin/python book/tools/bench.py

lint: $(STAMP) ## check style in the package, the tests and the notebooks
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

format: $(STAMP) ## mend what `make lint` can mend by itself
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

pages: $(STAMP) ## rewrite the bibliography, the API pages, the cover and its live model from their sources
	$(PYTHON) book/tools/bibliography.py
	$(PYTHON) book/tools/api.py
	$(PYTHON) book/tools/cover.py
	$(PYTHON) book/tools/front.py

test-seeds: $(STAMP) ## run all chapters under two more base seeds; every verdict must stand
	$(PYTHON) book/tools/execute.py --seeds 1 2

verify: $(STAMP) ## run one stored group of trials of every experiment again, and compare
	@set -e; for file in book/results/*.standard.json; do \
		name=$$(basename "$$file" .standard.json); \
		$(PYTHON) -m vaelite reproduce "$$name" --profile standard --verify; \
	done

mistakes: $(STAMP) ## make every deliberate mistake, in code, results and answers; a test must notice each
	VAELITE_MISTAKES=all $(PYTHON) -m pytest -n 2 --dist loadfile tests/experiments/test_mistakes.py \
		tests/course/test_assignments.py tests/course/test_seal.py

links: $(STAMP) ## ask every outside address that the book links to (needs a connection)
	$(BIN)/jupyter-book build . --path-output book/_build/links --builder linkcheck

lock: $(VENV)/uv ## resolve requirements.txt anew from pyproject.toml
	$(PYTHON) -m uv pip compile --universal -q --no-emit-index-url --no-emit-find-links \
		--python-version 3.11 pyproject.toml --extra lab --extra book --extra course --extra test \
		--extra dask --extra slurm --upgrade --custom-compile-command "make lock" -o requirements.txt

clean: ## remove what was built; the environment stays
	rm -rf book/_build build .pytest_cache .hypothesis .ruff_cache

# The environment: a virtual environment with uv in it, which installs the lock.
$(VENV)/uv:
	@for python in $(PYTHONS); do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then echo "Python 3.11 or newer is needed, and no python3 on this machine is; install one and run make again." >&2; exit 1; fi; \
	"$$found" -m venv $(VENV) || { echo "$$found cannot make a virtual environment; install its venv module and run make again." >&2; exit 1; }
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check uv
	@touch $@

$(STAMP): requirements.txt pyproject.toml | $(VENV)/uv
	@echo "Installing the locked environment into $(VENV) (once) ..."
	@$(PYTHON) -m uv pip sync --quiet --python $(PYTHON) requirements.txt
	@$(PYTHON) -m uv pip install --quiet --python $(PYTHON) --no-deps --editable .
	@touch $@

$(BENCH)/installed: pyproject.toml | $(VENV)/uv
	@$(PYTHON) -m uv venv --quiet --clear --python $(PYTHON) $(BENCH)
	@$(PYTHON) -m uv pip install --quiet --python $(BENCH)/bin/python --editable ".[bench]"
	@touch $@
