# SPDX-License-Identifier: Apache-2.0
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= python3
VENV ?= .venv
DATASET ?= synth
MODEL ?= m3net
BOARD ?= mps2_an386
# What runs the network on a board, in all targets that export, build or emulate: compiled or tflm.
ENGINE ?= compiled
ENGINE_SUFFIX := $(if $(filter tflm,$(ENGINE)),-tflm)
DATA_DIR ?=
PORT ?=
# A recipe of the data set's own, else the one for sounds of a few seconds.
RECIPE ?= $(firstword $(wildcard experiments/mcu/$(MODEL)_$(DATASET).yaml) \
  experiments/mcu/$(MODEL)_sounds.yaml)
RUN ?= runs/$(MODEL)_$(DATASET)
PYTEST_WORKERS ?= 2
# Each worker runs neighbouring tests, so that few of them make the same fixture twice.
PYTEST_SHARED := -n $(PYTEST_WORKERS) --dist worksteal
FAULT_CASES ?= 200
FAULT_JOBS ?= 2
FAULT_SEED ?=
FUZZ_SECONDS ?= 60
export BOARD DATA_DIR ENGINE FUZZ_SECONDS

M3NET := $(VENV)/bin/m3net
# After the bin/ of an environment.
PIP_INSTALL := pip install --quiet --disable-pip-version-check --no-deps
# Each tool that the chain calls, with the Debian package that brings it; g++ brings gcc, too, and
# the headers of the C library, which gcc alone only recommends.
TOOLS := git:git g++:g++ cmake:cmake ninja:ninja-build arm-none-eabi-gcc:gcc-arm-none-eabi \
  arm-none-eabi-g++:libstdc++-arm-none-eabi-newlib qemu-system-arm:qemu-system-arm
# A compiler cache, and tools of tests that are skipped without them: for the WebAssembly module, for
# spoken phrases, and for boards with RISC-V (1 GB).
RISCV := riscv64-unknown-elf
TOOLS += ccache:ccache $(if $(CI),clang:clang wasm-ld:lld node:nodejs espeak-ng:espeak-ng)
TOOLS += $(if $(CI),$(RISCV)-gcc:gcc-$(RISCV) qemu-system-riscv32:qemu-system-misc)
TOOLS += $(if $(CI),/usr/lib/picolibc/$(RISCV)/picolibc.specs:picolibc-$(RISCV))

# Says that the system's packages were declined on a terminal; make clean forgets it.
DECLINED := build/system-packages-declined

# Tests build the same sources in many temporary folders: with ccache each is compiled once.
BUILDING := test test-all engine-proof emulate-all
$(BUILDING): export CMAKE_C_COMPILER_LAUNCHER = $(shell command -v ccache)
$(BUILDING): export CMAKE_CXX_COMPILER_LAUNCHER = $(shell command -v ccache)
$(BUILDING): export CCACHE_BASEDIR = $(or $(TMPDIR),/tmp)
$(BUILDING): export CCACHE_NOHASHDIR = 1

.PHONY: help setup system demo train export-mcu firmware emulate emulate-all renode dist flash test test-all engine-proof docs figures coverage mutations faults fuzz lint format pins sbom light-runtime esphome registry registry-tests bench bench-mlperf clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "variables: DATASET=$(DATASET) MODEL=$(MODEL) BOARD=$(BOARD) ENGINE=$(ENGINE) DATA_DIR= RUN=$(RUN) INSTALL_SYSTEM="

setup: $(VENV)/.ready ## make the virtual environment with pinned packages

# As root, or with a sudo that needs no password, they are installed. Others are asked on a terminal,
# until they decline. INSTALL_SYSTEM=1 installs without asking, INSTALL_SYSTEM=0 never.
system: # install the missing system packages of Debian and Ubuntu, or say how
	@missing=""; for pair in $(TOOLS); do \
	  command -v $${pair%%:*} >/dev/null 2>&1 || [ -e $${pair%%:*} ] || missing="$$missing $${pair#*:}"; done; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11: make PYTHON=python3.11"; exit 2; }; \
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || missing="$$missing python3-venv"; \
	[ -n "$$missing" ] || exit 0; \
	install="$(INSTALL_SYSTEM)"; sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	echo "missing system packages: $${sudo:+$$sudo }apt-get install$$missing"; \
	if [ -z "$$install" ] && command -v apt-get >/dev/null; then \
	  if [ -z "$$sudo" ] || sudo -n true 2>/dev/null; then install=1; \
	  elif [ -t 0 ] && [ -t 1 ] && [ ! -e $(DECLINED) ]; then \
	    read -r -p "install them now, with sudo? [y/N] " answer; \
	    case "$$answer" in [yY]*) install=1;; *) mkdir -p $(dir $(DECLINED)) && touch $(DECLINED);; esac; \
	  fi; \
	fi; \
	if [ "$$install" = 1 ]; then \
	  $$sudo apt-get update -q && $$sudo env DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y -q --no-install-recommends $$missing || \
	    { echo "error: apt-get failed; INSTALL_SYSTEM=0 goes on without it"; exit 2; }; \
	fi; \
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "error: no virtual environment without python3-venv"; exit 2; }

# pip alone says nothing while it downloads and unpacks for minutes.
$(VENV)/.ready: constraints.txt setup.cfg pyproject.toml | system
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(VENV)/tmp; all=$$(grep -c == constraints.txt); \
	while sleep 4 >/dev/null; do \
	  echo "packages: $$(du -sm $(VENV)/tmp | cut -f1) MB fetched, $$(ls -d $(VENV)/lib/*/*/*.dist-info | wc -l) of $$all installed"; \
	done & trap "kill $$!" EXIT; \
	TMPDIR=$(abspath $(VENV)/tmp) $(VENV)/bin/$(PIP_INSTALL) --require-hashes -r constraints.txt
	@rm -rf $(VENV)/tmp
	$(VENV)/bin/$(PIP_INSTALL) --no-build-isolation -e .
	@touch $@

demo: setup ## train, quantise, export and emulate on the built-in sounds, in minutes
	$(M3NET) demo experiments/mcu/m3net_synth.yaml --run runs/demo

train: setup ## train MODEL on DATASET into RUN (files in DATA_DIR, else fetched)
	@[ -n "$(DATA_DIR)" ] || $(M3NET) data fetch $(DATASET)
	$(M3NET) train $(RECIPE) --dataset $(DATASET) --run $(RUN)

export-mcu: setup ## quantise RUN to int8 and write C arrays, tables and test vectors
	$(M3NET) export $(RUN)

firmware: setup ## build the firmware of RUN for BOARD
	$(M3NET) firmware $(RUN)

emulate: setup ## run RUN's held-out clips on the emulated BOARD and compare with the desktop
	$(M3NET) emulate $(RUN)

emulate-all: setup ## every network on every emulated board: same bytes, and costs within their baselines
	$(M3NET) matrix $(if $(filter 1,$(M3NET_REQUIRE_TFLM)),,--if-possible)

renode: setup ## run RUN's firmware for the STM32 and nRF boards in Renode, if that is installed
	$(VENV)/bin/python -m m3net_tf.boards.emulation.renode $(RUN)/export

# Prints the boards whose cores have ENGINE.
BOARDS_OF_ENGINE := from m3net_tf.boards.builds.boards import list_boards, load_board; \
  print(*(board for board in list_boards() if '$(ENGINE)' in load_board(board).architecture.engines))
dist: setup ## sdist, its wheel, and RUN's firmware for every board with their sizes, in dist/
	rm -rf dist && mkdir dist
	$(VENV)/bin/python setup.py -q sdist -d dist
	$(VENV)/bin/pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w dist dist/*.tar.gz
	@had="$$($(VENV)/bin/python -c "$(BOARDS_OF_ENGINE)")" || exit; \
	for board in $(notdir $(patsubst %/,%,$(wildcard firmware/boards/*/))); do \
	  case " $$had " in *" $$board "*) ;; *) echo "$$board: left out, it has no engine $(ENGINE)"; continue;; esac; \
	  $(M3NET) firmware $(RUN) --board $$board && \
	  cp $(RUN)/firmware/$$board$(ENGINE_SUFFIX)/m3net_firmware.elf dist/m3net_$(notdir $(RUN))_$$board.elf || exit; done
	cd dist && arm-none-eabi-size *.elf >sizes.txt

flash: setup ## build the firmware of RUN and write it to BOARD
	$(M3NET) flash $(RUN)

test: setup ## run the tests that are not slow, minutes
	$(VENV)/bin/python -m pytest $(PYTEST_SHARED)

test-all: setup ## run the slow tests too
	$(VENV)/bin/python -m pytest $(PYTEST_SHARED) -m "not exhaustive"

engine-proof: setup ## compiled engine against TensorFlow Lite Micro on thousands of models
	$(VENV)/bin/python -m pytest $(PYTEST_SHARED) -m exhaustive tests/compiler

docs: setup ## compare README and docs with the tree, and make the site build/site of them
	$(VENV)/bin/python -m pytest -q tests/test_docs.py tests/firmware/test_porting.py
	$(VENV)/bin/python docs/site/build.py build/site

# README has the flash of Debian 12's cross compiler; another version needs a few bytes more or less.
figures: demo emulate-all ## compare the figures of README and guide with what their commands print now
	$(VENV)/bin/python docs/check_figures.py

coverage: setup ## lines of the portable firmware that the tests on the host run, a table
	$(VENV)/bin/python tests/firmware/host_coverage.py

mutations: setup ## make deliberate errors, each of which its test must catch
	$(VENV)/bin/python tests/mutations.py

faults: setup ## kill, fill disks, truncate files ..., then resume: the same results, or one line
	$(VENV)/bin/python tests/faults/faults.py --cases $(FAULT_CASES) --jobs $(FAULT_JOBS) $(if $(FAULT_SEED),--seed $(FAULT_SEED))

fuzz: setup ## hostile input for all that reads files or lines, FUZZ_SECONDS for each target, or until it had FUZZ_INPUTS
	$(VENV)/bin/python tests/fuzz/fuzz.py $(if $(FUZZ_INPUTS),--inputs $(FUZZ_INPUTS))

lint: setup ## check style, spelling and types, and the compiled engine for bugs
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/clang-format --dry-run -Werror $$(git ls-files '*.c' '*.h' '*.cc' '*.cpp' '*.ino')
	$(VENV)/bin/codespell $$(git ls-files)
	git grep -niEf .ci/phrases.txt; [ $$? = 1 ] # none found
	$(VENV)/bin/python tests/compiler/tidy.py

format: setup # rewrite sources to the style
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	$(VENV)/bin/clang-format -i $$(git ls-files '*.c' '*.h' '*.cc' '*.cpp' '*.ino')

pins: # write the hashes of the pinned versions; needs uv
	for file in constraints.txt .ci/sbom.txt .ci/light_runtime.txt .ci/esphome.txt .ci/registry.txt; do \
	  UV_CUSTOM_COMPILE_COMMAND="make pins" uv pip compile --quiet --universal --python-version 3.11 \
	    --no-deps --no-annotate --generate-hashes $$file --output-file $$file || exit; done

sbom: setup # write the parts of a release in dist/: packages of this environment, pinned C sources
	$(PYTHON) -m venv build/sbom
	build/sbom/bin/$(PIP_INSTALL) --require-hashes -r .ci/sbom.txt
	mkdir -p dist
	build/sbom/bin/cyclonedx-py environment --output-reproducible --output-file build/sbom/python.json $(VENV)
	build/sbom/bin/python .ci/sbom.py build/sbom/python.json dist/m3net_tf.cdx.json

light-runtime: # scores of the kept exports with tflite-runtime, in an environment of its own
	$(PYTHON) -m venv build/light-runtime
	build/light-runtime/bin/$(PIP_INSTALL) --require-hashes -r .ci/light_runtime.txt
	PYTHONPATH=. build/light-runtime/bin/python .ci/light_runtime.py

esphome: setup # what ESPHome makes of its layout, with ESPHome in an environment of its own
	$(PYTHON) -m venv build/esphome
	build/esphome/bin/$(PIP_INSTALL) --require-hashes -r .ci/esphome.txt
	ESPHOME=$(abspath build/esphome/bin/python) $(VENV)/bin/python -m pytest -m "" tests/firmware/test_esphome.py

registry-tests: setup # metadata of libraries, with Espressif's tool in an environment of its own
	$(PYTHON) -m venv build/registry
	build/registry/bin/$(PIP_INSTALL) --require-hashes -r .ci/registry.txt
	COMPOTE=$(abspath build/registry/bin/compote) $(VENV)/bin/python -m pytest -m "" tests/firmware/test_registries.py

# A library's name in the registries, with which its names in C begin; it never changes.
ENTRY := keywords_m3net
ENTRY_RUN := build/registry/run
registry: registry-tests ## the keywords' network as libraries for Arduino's and Espressif's registries, in dist/
	@grep -q '^url = https://' setup.cfg || { echo "error: registries ask for a page: add url = https://HOST/OWNER/NAME to [metadata] of setup.cfg"; exit 2; }
	rm -rf build/registry/$(ENTRY)_* $(ENTRY_RUN)
	$(M3NET) export m3net-s-keywords --out $(ENTRY_RUN) --name $(ENTRY) --layout arduino --layout esp-idf
	$(VENV)/bin/python .ci/registry.py $(ENTRY_RUN)/layouts/arduino/$(ENTRY)
	build/registry/bin/compote component pack --project-dir $(ENTRY_RUN)/layouts/esp-idf/$(ENTRY) --name $(ENTRY) --dest-dir $(abspath build/registry)
	mkdir -p dist
	cp $(ENTRY_RUN)/layouts/arduino/$(ENTRY).zip dist/$(ENTRY)_arduino.zip
	cp build/registry/$(ENTRY)_*.tgz dist/

bench: setup ## cost of RUN on the emulated BOARD, as JSON
	$(M3NET) footprint $(RUN) --board $(BOARD) --json

# PORT is the serial device of BOARD; without it BOARD is emulated.
bench-mlperf: setup ## MLPerf Tiny's own runner on BOARD, at PORT or emulated, with the data in DATA_DIR or made ones
	$(M3NET) bench mlperf --board $(BOARD) $(if $(PORT),--port $(PORT)) $(if $(DATA_DIR),--data $(DATA_DIR))

clean: ## remove the virtual environment and build folders; runs stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache runs/*/firmware
