# make run       the quickstart, from a bare clone: a picture, a result file
# make test      the tests, from a bare clone; make test-slow: the long ones
# make rivals    the libraries of the rivals that are optional; tests have them
# make cluster   what runs on dask and SLURM need, see docs/cluster.md
# make figures   every quick figure; make figure NAME=fig1 SCALE=paper: one
# make league RESULT=outputs/fig1_quick.parquet: who is best, in tables
# make report RESULT="a.parquet b.parquet": all of it on one page, offline
# make validate SOLVER=/path/to/my_solver.py: check and rank a new solver
# make commands  every command of README.md and docs/, in a fresh clone
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
RESULT ?= $(OUTPUTS)/rivals_quick.parquet

export MPLBACKEND := Agg

# What a figure needs beside its result file.
INVERSION := $(OUTPUTS)/fig2_inversion.csv
EXTRA_fig2 := --inversion $(INVERSION)
AUTHORS := --authors figures/authors_20news_seed0.csv
EXTRA_fig1 := $(AUTHORS)
EXTRA_figE1 := $(AUTHORS)

# Figure E.2 is drawn from measurements of networks, not from runs.
E2 := $(addprefix $(OUTPUTS)/figE2_$(SCALE)_,dense.csv mdeq.csv)
MEASURE = $(BIN)/python -m experiments.deq_inversion --output $@
DENSE_quick := -d "digits[seed=[0,1,2]]"
SHORT := unrolled_steps=110,'batch_size, epochs'=[(32,5)]
MDEQ_quick := -d "digits[network=tiny,$(SHORT)]"
# Hours on a GPU.
DENSE_paper := --batches 100 --batch-size 32
ALL := size=None,'n_train, n_test'=[(None,None)]
HALF := 'batch_size, epochs, unrolled_steps'=[(None,50,None)]
MDEQ_paper := $(DENSE_paper) --forward-steps 18 --backward-steps 20 \
    --trainer SHINE-OPA -d "cifar10[network=large,device=cuda,$(ALL),$(HALF)]"

# Figures that share the runs of another configuration than their own.
CONFIG_fig3 := deq
RUN := $(or $(CONFIG_$(NAME)),$(NAME))_$(SCALE)

.PHONY: run test test-slow commands lint figure figures league report \
    validate install rivals cluster
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

test-slow: install rivals cluster
	$(BIN)/python -m pytest -m slow

commands:
	@$(PYTHON) tests/helpers/commands.py

lint: install
	$(BIN)/python -m flake8

validate: install
	$(BIN)/python -m benchmark_shine.bench.validate $(SOLVER)

figures: install
	@for name in fig1 fig2 figE1 nls fig3 deq figE2; do
	    $(MAKE) --no-print-directory figure NAME=$$name SCALE=quick
	done

ifeq ($(NAME),figE2)
figure: install $(E2)
	$(BIN)/python figures/$(NAME)*.py $(E2) \
	    --output-dir $(OUTPUTS) --name $(NAME)_$(SCALE)
else
figure: install $(if $(filter fig2,$(NAME)),$(INVERSION))
	@# what cannot be had here is skipped by the run, which says how to get it
	$(BIN)/benchopt prepare . --config configs/$(RUN).yml || true
	$(call benchopt,$(RUN))
	$(BIN)/python figures/$(NAME)*.py $(OUTPUTS)/$(RUN).parquet \
	    $(EXTRA_$(NAME)) --output-dir $(OUTPUTS) --name $(NAME)_$(SCALE)
	$(BIN)/python figures/league.py $(OUTPUTS)/$(RUN).parquet \
	    --output-dir $(OUTPUTS) --name $(RUN)_league
endif

league: install
	@$(BIN)/python figures/league.py $(RESULT) --output-dir $(OUTPUTS)

report: install
	@$(BIN)/python figures/report.py $(RESULT) --output-dir $(OUTPUTS)

$(INVERSION): experiments/opa_inversion.py | install
	$(BIN)/python -m experiments.opa_inversion --tries $(TRIES) --output $@

$(OUTPUTS)/figE2_$(SCALE)_dense.csv: experiments/deq_inversion.py | install
	$(MEASURE) $(DENSE_$(SCALE))

$(OUTPUTS)/figE2_$(SCALE)_mdeq.csv: experiments/deq_inversion.py | install
	$(MEASURE) $(MDEQ_$(SCALE))

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

cluster: $(VENV)/cluster

$(VENV)/cluster: requirements-cluster.lock | install
	$(BIN)/python -m pip install --quiet --no-deps \
	    --requirement requirements-cluster.lock
	touch $@
