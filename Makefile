# make run            race the paper's methods on bundled data, a minute
# make figure NAME=fig1 SCALE=paper    run, measure and draw one figure
# make figures        the quick figures, all of them
# make league RESULT=FILES             rank methods, in tables
# make report RESULT=FILES             put everything on one offline page
# make record         measure every file of results/ again; ENTRY=NAME: one
# make validate FILE=PATH              check a new solver or data set
# make test           run the fast tests; make test-slow: the long ones
# make test-machines  run the fast tests as other processors would
# make commands       run every command of README.md and docs/ in a fresh clone
# make lint           run flake8
# make install        make .venv; rivals: add jaxopt, optimistix, Optuna and
#                     torchdeq; cluster: dask and submitit, see docs/cluster.md
#
# NAME: fig1 fig2 fig3 figE1 figE2 nls deq lm theory error_against_cost
# backward_times cost; SCALE: quick (the default), paper.
# Results, pictures and tables go to outputs/, or to OUTPUTS=FOLDER.
# Another Python: make run PYTHON=python3.13 (3.11 to 3.13; it goes to VENV).

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUTPUTS ?= outputs
NAME ?= fig1
SCALE ?= quick
RESULT ?= $(OUTPUTS)/quickstart.parquet
MAKE_FIGURE := $(BIN)/python -m experiments.figures --output-dir "$(OUTPUTS)"
# a value from the command line as one word of the shell
quoted = '$(subst ','\'',$(value $(1)))'
# RESULT: one path, which may have spaces, or several words
results = if [ -f $(call quoted,RESULT) ]; then set -- $(call quoted,RESULT); \
    else set -- $(RESULT); fi

export MPLBACKEND := Agg
.PHONY: $(shell sed -n 's/^\([a-z -]*\):.*/\1/p' Makefile)

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

run: install
	@$(MAKE_FIGURE) quickstart
figure: install
	@$(MAKE_FIGURE) --scale "$(SCALE)" $(NAME)
figures: install
	@$(MAKE_FIGURE) all

league report: install
	@$(results); $(BIN)/python -m figures $@ "$$@" --output-dir "$(OUTPUTS)"

record: install rivals
	@$(BIN)/python -m experiments.record $(ENTRY)

validate: install
	@$(BIN)/python -m benchmark_shine.bench.validate \
	    $(if $(FILE)$(SOLVER),$(call quoted,$(if $(FILE),FILE,SOLVER)))

test: install rivals
	$(BIN)/python -m pytest -m "not slow"
test-slow: install rivals cluster
	$(BIN)/python -m pytest -m slow
test-machines: install rivals
	@$(BIN)/python tests/helpers/machines.py
commands:
	@$(PYTHON) tests/helpers/commands.py
lint: install
	$(BIN)/python -m flake8

install: $(VENV)/installed
rivals: $(VENV)/rivals
cluster: $(VENV)/cluster

$(VENV)/installed: requirements.lock pyproject.toml | usable
	$(PYTHON) -m venv "$(VENV)"
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch "$@"

$(VENV)/rivals $(VENV)/cluster: $(VENV)/%: requirements-%.lock | install
	$(BIN)/python -m pip install --quiet --no-deps --requirement $<
	touch "$@"

usable:
	@mkdir -p "$(OUTPUTS)" 2> /dev/null && test -w . -a -w "$(OUTPUTS)" || \
	    { echo "make cannot write in $(CURDIR) or $(OUTPUTS)" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.version_info < (3, 11) and \
	    sys.exit("Python 3.11 or later is needed: make PYTHON=python3.13")'
ifeq ($(origin PYTHON),command line)
	@test "$$($(BIN)/python -V 2>&1)" = "$$($(PYTHON) -V)" || ! test -e $(BIN) || \
	    { echo "$(VENV) has another Python: add VENV=.venv-other" >&2; exit 2; }
endif
