# make run    the main job: private environment, MPI from PyPI, result file, figure and table
# make test   the tests, all but slow ones
# make help   the rest

PYTHON ?= python3
MPI ?= mpich
# an environment for each MPI library
VENV ?= .venv$(if $(filter-out mpich,$(MPI)),-$(MPI))
RANKS ?= 2
# of make soak
CALLS ?= 10000
# of make fuzz and make soak-files
SEED ?= 0
KILLS ?= 200
RACES ?= 200
FULL ?= 50
UNLOCKED ?= 50
# make run uses no more threads than ranks
export OMP_NUM_THREADS = 1

# Whole runs of neighbouring tests go to each worker, so that what they share is made once. Two jobs of mpiexec at once:
# their ranks start and wait in turns, and more would share cores.
PYTEST = $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal
PYTEST_MPI = $(BIN)/python -m pytest -n 2 --dist worksteal

BIN = $(VENV)/bin
SOURCES = $(wildcard cython_ext/*) setup.py pyproject.toml

.PHONY: run test test-slow test-mpi test-openmpi test-torch test-torch-mpi test-torch-openmpi test-newest test-lowest test-slurm test-hosts matrix dist soak fuzz soak-files lint format docs bench clean help

run: $(VENV)/ready
	$(BIN)/mpiexec -n $(RANKS) $(BIN)/python -m mpiqopt run configs/digits.toml -o results/digits.h5 --overwrite
	$(BIN)/mpiqopt plot results/digits.h5 -o results/digits.png
	$(BIN)/mpiqopt show results/digits.h5

test: $(VENV)/ready
	$(PYTEST) -m "not slow and not mpi and not torch"
	$(PYTEST_MPI) -m "not slow and mpi and not torch"

# The slow tests, which make test leaves out.
test-slow: $(VENV)/ready
	$(PYTEST) -m "slow and not mpi and not torch"
	$(PYTEST_MPI) -m "slow and mpi and not torch"

# The tests of networks, also the slow ones: 5 minutes at most. They alone need PyTorch, which is installed for them.
test-torch: $(VENV)/torch
	$(PYTEST) -m "torch and not mpi"
	$(PYTEST_MPI) -m "torch and mpi"

test-torch-mpi: $(VENV)/torch
	$(PYTEST_MPI) -m "torch and mpi"

# The tests that start mpiexec, with the other MPI library; its slow ones: make test-slow MPI=openmpi.
test-openmpi:
	$(MAKE) MPI=openmpi test-mpi

test-torch-openmpi:
	$(MAKE) MPI=openmpi test-torch-mpi

# MPI=debian-mpich and MPI=debian-openmpi: with Debian's packages mpich and openmpi-bin. TESTS=... takes some of them.
test-mpi: $(VENV)/ready
	$(PYTEST_MPI) -m "mpi and not slow and not torch" $(TESTS)

# The core of the suite in an empty environment: on the newest Python with the newest versions, and the lowest of both.
test-newest test-lowest: .venv/ready
	PYTHONPATH=tests .venv/bin/python -m tools.core $(@:test-%=%)

# Examples on every Python here, lowest and newest versions, four MPIs, 1 to 4 ranks: the same bits? (an hour)
matrix: .venv/ready
	PYTHONPATH=tests .venv/bin/python -m tools.matrix

# Source distribution and wheel in dist/, and the wheel tried in an empty environment.
dist: .venv/ready
	PYTHONPATH=tests .venv/bin/python -m tools.try_dist dist

# Starts a one-node SLURM from Debian's packages and takes it down again; skips, with the reason, where it cannot.
test-slurm: $(VENV)/ready
	MPIQOPT_TEST_SLURM=1 $(BIN)/python -m pytest -rs tests/slurm

# Runs on two hosts, which are network namespaces of this one; skips, with the reason, where it cannot (needs root).
test-hosts: $(VENV)/ready
	$(BIN)/python -m pytest -rs tests/test_hosts.py

# Random calls of coordination on 1 to 8 ranks, all checked against the sum.
soak: $(VENV)/ready
	PYTHONPATH=tests $(BIN)/python -m tools.soak --all --calls $(CALLS)

# Thousands of hostile calls, drawn from SEED, in a few minutes; CASE=... makes one of them again, KINDS=... some.
fuzz: CALLS = 3000
fuzz: $(VENV)/ready
	PYTHONPATH=tests $(BIN)/python -m tools.fuzz --seed $(SEED) --calls $(CALLS) $(if $(CASE),--case $(CASE)) \
		$(if $(KINDS),--kinds $(KINDS))

# Runs that are killed, raced, out of disk (as root, who can mount a small one) and without locks (half an hour).
soak-files: $(VENV)/ready
	PYTHONPATH=tests $(BIN)/python -m tools.soak_files --seed $(SEED) --kills $(KILLS) --races $(RACES) \
		--full $(FULL) --unlocked $(UNLOCKED)

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH=$(BIN):$$PATH cython-lint cython_ext
	$(BIN)/mypy

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/ready
	$(BIN)/mpiqopt config-schema --markdown > docs/config.md

bench: $(VENV)/ready
	$(BIN)/python benchmarks/speed.py

ifeq ($(MPI),mpich)
$(VENV)/ready: $(SOURCES)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mpiqopt needs Python 3.11 or later: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[$(MPI),dev]'
	touch $@

# Of the version in constraints.txt: the newest that there is for CPUs alone on some package indexes. Where pip would
# bring CUDA, 2.9 GB, install torch from PyTorch's own index into $(VENV) first.
$(VENV)/torch: $(VENV)/ready constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt 'mpiqopt[torch]'
	touch $@
else
# What .venv has, but with another MPI: neither kernels nor libraries depend on it.
$(VENV)/ready: .venv/ready
	PYTHONPATH=tests .venv/bin/python -m tools.environments $(VENV) $(MPI)
	touch $@

$(VENV)/torch: .venv/torch $(VENV)/ready
	touch $@

.venv/ready .venv/torch: $(SOURCES) constraints.txt
	$(MAKE) MPI=mpich VENV=.venv $@
endif

clean:
	rm -rf .venv .venv-* build dist mpiqopt/*.so *.egg-info

help:
	@sed -n 's/^# make/make/p' Makefile
	@echo "make lint, format, docs, bench, soak, fuzz, soak-files, matrix, dist, clean, test-slow, test-torch, test-mpi, test-openmpi, test-torch-mpi, test-torch-openmpi, test-newest, test-lowest, test-slurm, test-hosts"
	@echo "MPI=openmpi | debian-mpich | debian-openmpi, PYTHON=..., RANKS=..., CALLS=..., TESTS=..., SEED=..., CASE=..., KINDS=..., KILLS=..., RACES=..., FULL=..., UNLOCKED=..."
