# make demo: set up .venv and run the whole method; make test: set up the same and pass the tests;
# make study: what each part of the method brings, over seeds (hours; goes on where it stopped), and its page;
# make docs: the documentation site, in site/.

PYTHON ?= python3
BIN := .venv/bin
# One thread per process: tests start several, and two cores with four threads crawl. Bytecode is kept, or
# every one of these processes would compile the package anew.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false PYTHONDONTWRITEBYTECODE=
# Two processes, each with whole files, whose fixtures are made once, in the order of the files.
TOGETHER := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo study docs test lint

demo: .venv/.installed
	$(BIN)/driftbound demo

study: .venv/.installed
	$(BIN)/driftbound study phantom_study
	$(BIN)/driftbound study phantom_study --page docs/study.md

# The variable stops an advertisement.
docs: .venv/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

test: lint
	$(ONE_THREAD) $(BIN)/python -m pytest $(TOGETHER)

lint: .venv/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "driftbound needs Python 3.11 or newer, and '$(PYTHON)' is not; try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
	  exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
