# make run       the quickstart, from a bare clone: a picture, a result file
# make test      the tests, from a bare clone; make test-slow: the long ones
# make rivals    the libraries of the rivals that are optional; tests have them
# make figures   every quick figure; make figure NAME=fig1 SCALE=paper: one
# make lint      flake8
#
# Runs, pictures and tables land in outputs/, which git ignores; what the
# README shows is a copy of such files in results/.

SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUTPUTS ?= outputs
NAME ?= fig1
SCALE ?= quick
TRIES ?= 100

export MPLBACKEND := Agg

# What a figure needs beside its result file.
INVERSION := $(OUTPUTS)/fig2_inversion.csv
EXTRA_fig2 := --inversion $(INVERSION)
AUTHORS := --authors figures/authors_20news_seed0.csv
EXTRA_fig1 := $(AUTHORS)
EXTRA_figE1 := $(AUTHORS)

.PHONY: run test test-slow lint figure figures install rivals
.ONESHELL:
.SHELLFLAGS := -eu -o pipefail -c

run: install
	@$(call benchopt,quickstart)
	$(BIN)/python figures/quickstart.py $(OUTPUTS)/quickstart.parquet \
	    --output-dir $(OUTPUTS) --name quickstart --x-scale log
	echo "result file: $(OUTPUTS)/quickstart.parquet"
	[ -f $(VENV)/rivals ] || \
	    echo "more rivals (jaxopt, Optuna, torchdeq): make rivals"

test: install rivals
	$(BIN)/python -m pytest -m "not slow"

test-slow: install rivals
	$(BIN)/python -m pytest -m slow

lint: install
	$(BIN)/python -m flake8

figures: install
	@for name in fig1 fig2 figE1 nls; do
	    $(MAKE) --no-print-directory figure NAME=$$name SCALE=quick
	done

figure: install $(if $(filter fig2,$(NAME)),$(INVERSION))
	@$(call benchopt,$(NAME)_$(SCALE))
	$(BIN)/python figures/$(NAME)*.py $(OUTPUTS)/$(NAME)_$(SCALE).parquet \
	    $(EXTRA_$(NAME)) --output-dir $(OUTPUTS) --name $(NAME)_$(SCALE)

$(INVERSION): benchmark_shine/inversion.py | install
	$(BIN)/python -m benchmark_shine.inversion --tries $(TRIES) --output $@

# Runs that finished before come from benchopt's cache, so that after Ctrl-C
# or a crash the same command goes on; an earlier result file is kept aside.
define benchopt
mkdir -p $(OUTPUTS)
if [ -f $(OUTPUTS)/$(1).parquet ]; then
    mv $(OUTPUTS)/$(1).parquet $(OUTPUTS)/$(1).previous.parquet
fi
$(BIN)/benchopt run . --config configs/$(1).yml \
    --output $(OUTPUTS)/$(1).parquet
endef

install: $(VENV)/installed

$(VENV)/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

rivals: $(VENV)/rivals

$(VENV)/rivals: requirements-rivals.lock | install
	$(BIN)/python -m pip install --quiet --no-deps \
	    --requirement requirements-rivals.lock
	touch $@
