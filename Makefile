# make app: serve the workbench.  make test: check and test it.
# Both make .venv first when it is missing or out of date.
# Variables: PYTHON=path of a Python >= 3.11, PORT=8501, WORKERS=2 test processes (about 3 GiB each),
# ARGS="-k name" for pytest.

PORT ?= 8501
ARGS ?=
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
APP := $(VENV)/.app-installed
TEST := $(VENV)/.test-installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

# An environment that cannot be used (its Python is gone or too old, the checkout has moved) is made anew.
USABLE := $(shell grep -sqF '$(CURDIR)/$(VENV)' $(BIN)/activate && $(BIN)/python -c \
    'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo usable)
ifneq ($(USABLE),usable)
STALE := stale
endif

.PHONY: setup test-setup app test check format lock clean stale
setup: $(APP)
test-setup: $(TEST)

$(APP): pyproject.toml requirements/app.txt $(STALE)
	@test -z '$(STALE)' && exit; \
	python='$(PYTHON)'; found=; \
	for each in $${python:-python3.13 python3.12 python3.11 python3 python}; do \
	    "$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    found=$$each; \
	    "$$each" -c 'import ensurepip, venv' 2>/dev/null && break; \
	    found="$$each without venv"; \
	done; \
	case "$$found" in \
	    '') echo "No Python >= 3.11 found (tried $${python:-python3.13, python3.12, python3.11, python3, python})." \
	             "Install one, or name it: make setup PYTHON=/path/to/python3" >&2; exit 1;; \
	    *' without venv') echo "$${found% without venv} has no venv module. On Debian and Ubuntu:" \
	             "apt-get install python3-venv" >&2; exit 1;; \
	esac; \
	echo "Making $(VENV) with $$("$$found" --version)"; \
	"$$found" -m venv --clear $(VENV)
	$(PIP) install --requirement requirements/app.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(TEST): $(APP) requirements/test.txt
	$(PIP) install --requirement requirements/test.txt
	@touch $@

app: setup
	$(BIN)/workbench app --port $(PORT)

# XLA takes two to three times as long to compile as to compile badly, and these tests run most programs once: gradients,
# and many small networks beside those of transformers. All other tests, those of training from the command line and of
# bundled checkpoints beside other engines among them, run what users run.
QUICK_XLA := --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false
QUICK := tests/training tests/checkpoint tests/routing
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)
# ARGS may choose tests that only one of the two has: pytest then ends with 5.
NO_MATCH = $(if $(ARGS),test $$? = 5,false)
test: check
	XLA_FLAGS="$(QUICK_XLA)" $(PYTEST) $(QUICK) || $(NO_MATCH)
	$(PYTEST) $(QUICK:%=--ignore=%) || $(NO_MATCH)

check: test-setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --cache-dir .cache/import-linter

format: test-setup
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

# Pin anew, keeping every pin that still fits (delete a line to renew it); needs `uv`. The CUDA libraries that
# PyPI's Linux build of torch asks for are left to pip: a CPU build of the same version does without them.
lock:
	for set in "app --extra app" "test --extra app --extra test"; do \
	    set -e -- $$set; name=$$1; shift; \
	    uv pip compile pyproject.toml requirements/build.in "$$@" --quiet --universal --fork-strategy fewest \
	        --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-annotate \
	        --custom-compile-command "make lock" --output-file requirements/$$name.txt; \
	    grep -vE '^(cuda|nvidia|triton)' requirements/$$name.txt > requirements/$$name.new; \
	    mv requirements/$$name.new requirements/$$name.txt; \
	done

clean:
	rm -rf $(VENV) .cache build dist *.egg-info
