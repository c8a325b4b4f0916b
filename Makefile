# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
# Which PyTorch: any arguments of pip. The plain one may bring several GB for GPUs; on a CPU give a CPU build.
TORCH ?= torch==2.13.0
# Real data for tests that want it; they skip without.
DATA ?= $(wildcard ../shared/data)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
TF := .venv-tf
PYTEST := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest $(if $(DATA),--data=$(DATA))

.PHONY: install demo serve test test-long test-all test-tf check format kill gpu-check benchmark wheel clean
install: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $(TORCH)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[llm,bench,eval,serve,dev]"
	touch $@

demo: $(READY)
	$(BIN)/regimen demo

# The page, the API and the queue of ./home, on this machine alone.
serve: $(READY)
	$(BIN)/regimen up --folder home

# One process a core, one thread each.
test: $(READY)
	$(PYTEST) -m "not long" --numprocesses=logical --dist=worksteal

# Minutes rather than seconds: kills, fuzzing, browsers.
test-long: $(READY)
	$(PYTEST) -m long

test-all: test test-long test-tf

# TensorFlow in an environment of its own.
test-tf: $(TF)/ready
	OMP_NUM_THREADS=1 $(TF)/bin/python -m pytest $(if $(DATA),--data=$(DATA)) tests/test_tf_runner.py tests/test_contract.py -k tf_

$(TF)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(TF)
	$(TF)/bin/python -m pip install --quiet --upgrade pip
	$(TF)/bin/python -m pip install --quiet --constraint constraints.txt $(TORCH)
	$(TF)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[tf,dev]"
	touch $@

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q --no-header tests/test_policies.py

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# 20 kills at random moments for each of sft, dpo and lr_schedule, each compared byte for byte with a run that was left alone.
kill: $(READY)
	$(PYTEST) tests/test_kill.py -k a_killed_run --kills 20 -s

# What only a machine with a GPU can show.
gpu-check: $(READY)
	$(PYTEST) tests/test_gpu.py -s

benchmark: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/finetune_vs_trl.py

wheel: $(READY)
	$(BIN)/python -m build --outdir dist .

clean:
	rm -rf $(VENV) $(TF) dist build .pytest_cache .mypy_cache .ruff_cache
