# The two commands of the README are `make repro` and `make test`; both set the project up first.
PYTHON ?= python3
BIN := .venv/bin
RUN := PATH="$(CURDIR)/$(BIN):$$PATH"
TOGETHER := -n 2 --dist loadfile --no-loadscope-reorder  # two files at a time, the longest first

.PHONY: help repro test test-fast test-long check clean setup
.DEFAULT_GOAL := help

help:  ## list these targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/:/'

repro: setup  ## run the suite in params.yaml (bundled: 20 minutes on 2 cores), then print its tables
	@$(RUN) python -m bench run

test: setup  ## run every test
	$(RUN) python -m pytest $(TOGETHER)

test-fast: setup  ## run the tests that take under a minute together
	$(RUN) python -m pytest $(TOGETHER) -m "not end_to_end and not slow"

test-long: setup  ## run every test in its long form: fresh interpreters, 2,000 examples a fuzz, every kill (over an hour)
	SWQ_TEST_COLD=1 SWQ_FUZZ_EXAMPLES=2000 SWQ_KILLS=99 SWQ_BUNDLED="$(CURDIR)" $(RUN) python -m pytest $(TOGETHER)

check: setup  ## format, lint and types
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy

clean:  ## remove what the pipeline made, but keep downloads/ and the committed results/
	rm -rf data artefacts scores .resume .locks .failures .logs .dvc/cache .dvc/tmp

setup: $(BIN)/.installed  ## make .venv with everything installed (two minutes)

$(BIN)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed (set PYTHON=...)")'
	@echo "setting up .venv: 2 minutes or more, about 180 Python packages, 2 GB (more where torch comes with CUDA)"
	@$(PYTHON) -m venv .venv
	@bash -o pipefail -c '$(BIN)/python -m pip install --progress-bar off --editable ".[dev]" --constraint constraints.txt \
	    2>&1 | tee .venv/pip.log | awk "$$PROGRESS"' || { echo "error: pip failed; see .venv/pip.log"; exit 1; }
	@touch $@

# One line that grows in place of the thousand that pip prints, and its errors.
define PROGRESS
/^ *(Downloading|Using cached|Processing) .*(whl|gz)( \(|$$)/ { printf "\r%d packages fetched", ++fetched; fflush() }
/^ *Installing collected/ { printf ", installing them"; fflush() }
/ERROR|error:/ { print "\n" $$0 }
END { print "" }
endef
export PROGRESS
