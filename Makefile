# Two commands do everything on a bare machine: `make demo` and `make test`.
PYTHON ?= python3
# Who has torch already, for a GPU: make demo PIPFLAGS=
# The new environment then sees the packages of $(PYTHON) behind its own, also where that one is in an environment itself.
PIPFLAGS ?= -c constraints.txt
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := src tests bench study
# A process a core, but no more than memory holds: each has torch, about 1 GB. A file's tests stay together.
PROCESSES ?= -n auto --maxprocesses 4 --dist loadfile

.PHONY: setup demo test test-all faults study study-write study-run check fuzz test-oldest test-old-readers test-server test-track test-lm-eval test-llama-cpp size docs release

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
ifeq ($(strip $(PIPFLAGS)),)
	$(PYTHON) -c 'import site; print(*site.getsitepackages(), site.getusersitepackages(), sep="\n")' \
		> "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/outer.pth"
endif
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIPFLAGS) -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/iikata demo

test: setup
	$(BIN)/python -m pytest $(PROCESSES)

# With the browser's tests, the long ones and a seeded part of the faults.
test-all: setup
	$(BIN)/python -m pytest $(PROCESSES) -m ""

# Every fault, not a seeded part of them: kills, power cuts, full disks, memory that runs out, broken inputs.
faults: setup
	IIKATA_FAULTS=long $(BIN)/python -m pytest $(PROCESSES) -m faults

# The study: every number, table, figure and page again from its published scores, without torch; fails where one differs.
study: setup
	$(BIN)/python study/results.py
	$(BIN)/python study/reanalysis.py

# The same, written anew: after another model was run. The pages quote the re-analysis.
study-write: setup
	$(BIN)/python study/results.py --write
	$(BIN)/python study/reanalysis.py --write
	$(BIN)/python study/pages.py --write

# One of its models again, inputs and all (study/prepare.py, study/models.py): make study-run MODEL=smollm2
study-run: setup
	$(BIN)/python study/run.py $(MODEL) --stage choose --out runs/study/$(MODEL)/out --work runs/study/$(MODEL)
	$(BIN)/python study/run.py $(MODEL) --stage test --out runs/study/$(MODEL)/out --work runs/study/$(MODEL)

# Other versions of what models are read with, laid over the environment: tests/overlays/NAME.txt lists them.
$(VENV)/overlays/%/.installed: tests/overlays/%.txt $(VENV)/.installed
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(@D) -r $<
	touch $@

# Models and tokens under the oldest transformers that is supported.
test-oldest: $(VENV)/overlays/oldest/.installed
	PYTHONPATH=$(<D) $(BIN)/python -m pytest $(PROCESSES) -m "" tests/tokenize tests/model

# What is exported, read by transformers 4 and an old peft.
test-old-readers: $(VENV)/overlays/old-readers/.installed
	IIKATA_OLD_READERS=$(<D) $(BIN)/python -m pytest -m "" tests/pipeline/test_old_readers.py

# An exported arm behind transformers' own server.
test-server: $(VENV)/overlays/server/.installed
	IIKATA_SERVER=$(<D) $(BIN)/python -m pytest -m "" tests/pipeline/test_transformers_serve.py

# Multiple choice against lm-eval's own figures, and its tasks as probes.
test-lm-eval: $(VENV)/overlays/lm-eval/.installed
	PYTHONPATH=$(<D) $(BIN)/python -m pytest -m "" tests/pipeline/test_choice.py tests/pipeline/test_lm_eval_probes.py

# What a tracker is told, read back from tensorboard's files.
test-track: $(VENV)/overlays/track/.installed
	IIKATA_TRACK=$(<D) $(BIN)/python -m pytest -m "" tests/pipeline/test_tracking.py

# What export --gguf writes, read by llama.cpp itself.
test-llama-cpp: $(VENV)/overlays/llama-cpp/.installed
	IIKATA_LLAMA_CPP=$(<D) $(BIN)/python -m pytest -m "" tests/pipeline/test_llama_cpp.py

check: setup
	$(BIN)/python -m ruff format --check $(SOURCES)
	$(BIN)/python -m ruff check $(SOURCES)
	$(BIN)/python -m mypy
	$(BIN)/python -m pytest tests/test_architecture.py

size:
	$(PYTHON) bench/size.py

docs: setup
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIPFLAGS) -e '.[docs]'
	$(BIN)/mkdocs build --strict --quiet

# The wheel is tried as a user gets it: in an empty environment.
release: setup
	rm -rf dist/iikata-* dist/try
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIPFLAGS) -e '.[release]'
	$(BIN)/python -m build --outdir dist
	$(BIN)/twine check --strict dist/iikata-*
	$(PYTHON) -m venv dist/try
	dist/try/bin/pip install --quiet --disable-pip-version-check $(PIPFLAGS) dist/iikata-*.whl
	cd dist && try/bin/iikata demo --out try/run

# One parser: make fuzz PARSERS=jinja SECONDS=60
PARSERS ?= $(notdir $(wildcard tests/faults/seeds/*))
SECONDS ?= 300

fuzz: setup
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIPFLAGS) -e '.[fuzz]'
	for parser in $(PARSERS); do $(BIN)/python tests/faults/fuzz.py $$parser --seconds $(SECONDS) || exit 1; done
