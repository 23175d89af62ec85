# `make dataset` from nothing but a clone; `make help` for the rest.

PRESET ?= mini
OUT    ?=
ASSETS ?=
SHARDS ?=
ARGS   ?=

VENV      := .venv
BIN       := $(VENV)/bin
UV        := $(BIN)/python -m uv
FURNITURE := /usr/share/sweethome3d/furniture

# Wheels that pip was told of, such as a build of torch for this machine, are meant for uv, too.
export UV_FIND_LINKS ?= $(shell python3 -m pip config get global.find-links 2>/dev/null)

# Or each of a job's many processes would compile all of Ray and torch for itself.
unexport PYTHONDONTWRITEBYTECODE

# Debian's names of the libraries that the wheels of Blender and Open3D expect to find.
LIBRARIES := libgl1=libGL.so.1 libgomp1=libgomp.so.1 libice6=libICE.so.6 libsm6=libSM.so.6 \
  libx11-6=libX11.so.6 libxext6=libXext.so.6 libxfixes3=libXfixes.so.3 libxi6=libXi.so.6 \
  libxkbcommon0=libxkbcommon.so.0 libxrender1=libXrender.so.1 libxxf86vm1=libXxf86vm.so.1
# And the driver of the browser that tests use.
test: LIBRARIES += libatomic1=libatomic.so.1

define MISSING
import ctypes, importlib.util, shutil, sys
for package, _, library in (pair.partition("=") for pair in sys.argv[1:]):
    try:
        ctypes.CDLL(library)
    except OSError:
        print(package)
if not shutil.which("uv") and not importlib.util.find_spec("ensurepip"):
    print("python3-venv")
endef
export MISSING

# Packages of the system: installed where we may, asked for where we may not.
define INSTALL
if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
then apt-get update -qq && apt-get install -qq -y --no-install-recommends $(1) >/dev/null; \
else echo "missing from this system; please run: sudo apt-get install -y "$(1) >&2; exit 1; fi
endef

.DEFAULT_GOAL := help
.PHONY: help setup system assets dataset train view browser test check lint clean

help: ## this list
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18
	@echo '  for example: make dataset PRESET=real ASSETS=FOLDER OUT=FOLDER ARGS="--plan.train 100"'

setup: system $(VENV)/.dataset $(VENV)/.blender ## the environments: .venv, and Blender's own

system: ## the system libraries that Blender needs
	@missing=$$(python3 -c "$$MISSING" $(LIBRARIES)) && \
	if [ -n "$$missing" ]; then $(call INSTALL,$$missing); fi

# The environment has a uv of its own, brought by the uv that is here or else by pip.
$(BIN)/uv:
	@if command -v uv >/dev/null; \
	then uv venv -q --python 3.11 $(VENV) && uv pip install -q --python $(VENV) -c requirements.txt uv; \
	else python3 -m venv $(VENV) && $(BIN)/pip install -q -c requirements.txt uv; fi

$(VENV)/.dataset: pyproject.toml requirements.txt | $(BIN)/uv
	$(UV) pip install -q -c requirements.txt -e '.[dataset]'
	@touch $@

$(VENV)/.train: pyproject.toml requirements.txt | $(BIN)/uv
	$(UV) pip install -q -c requirements.txt -e '.[dataset,train]'
	@touch $@

$(VENV)/.view: pyproject.toml requirements.txt | $(BIN)/uv
	$(UV) pip install -q -c requirements.txt -e '.[view]'
	@touch $@

$(VENV)/.dev: pyproject.toml requirements.txt | $(BIN)/uv
	$(UV) pip install -q -c requirements.txt -e '.[dataset,train,view,s3,http,wandb,dev]'
	@touch $@

$(VENV)/.blender: datagen/render/worker.py | $(VENV)/.dataset
	@$(BIN)/python -c 'from datagen.render.renderer import blender_python; print(blender_python())'
	@touch $@

assets: ## real 3D models: Debian's sweethome3d-furniture
	@if [ ! -d $(FURNITURE) ]; then $(call INSTALL,sweethome3d-furniture); fi
	@echo $(FURNITURE)

dataset: setup ## the dataset: PRESET=mini|real|FILE OUT= ASSETS= ARGS=
	@$(BIN)/sigma dataset --preset "$(PRESET)" $(if $(OUT),--out "$(OUT)") \
	  $(if $(ASSETS),--catalog.path "$(ASSETS)") $(ARGS)

train: PRESET = tiny
train: setup $(VENV)/.train ## a model: PRESET=tiny|small|kontext|FILE SHARDS= OUT= ARGS=
	@$(BIN)/sigma train $(if $(SHARDS),"$(SHARDS)") --preset "$(PRESET)" \
	  $(if $(OUT),--out "$(OUT)") $(ARGS)

view: $(VENV)/.view ## a page that shows a set: SHARDS= (default: out/mini/shards) ARGS=
	@$(BIN)/sigma view "$(or $(SHARDS),out/mini/shards)" $(ARGS)

browser: # the one that tests drive
	@if ! command -v chromium >/dev/null; then $(call INSTALL,chromium); fi

# Whole jobs, which use all cores, are kept apart from tests that they would make wait.
JOBS := $(addprefix tests/pipelines/,dataset/test_job.py training/test_job.py test_end_to_end.py)

test: system assets browser $(VENV)/.dev $(VENV)/.blender ## every test: on two processes, then the jobs on one
	$(BIN)/python -m pytest -n 2 --dist loadfile $(addprefix --ignore=,$(JOBS))
	$(BIN)/python -m pytest $(JOBS)

check: lint ## lint, and the quick tests that need neither Blender, Ray nor a browser
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not external and not slow"

lint: $(VENV)/.dev ## ruff, mypy, import-linter
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

clean: ## remove the environment and the tools' caches; datasets stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
