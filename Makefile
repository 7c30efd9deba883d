# make demo | make test | make test-browser | make docs | make lint | make env | make lock
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODEL ?= MotifResNet/tf-human
EXAMPLE := dataloaders/sequence/example
FASTA ?= $(EXAMPLE)/example.fa
BED ?= $(EXAMPLE)/example.bed
VCF ?= $(EXAMPLE)/example.vcf
OUT ?= demo
TORCH := torch==2.13.0

.PHONY: env python demo test test-browser docs lint lock

env: $(VENV)/.installed

# Python is checked first, and an existing environment is never mixed with another Python.
python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 13) else \
	  "regzoo needs Python 3.10 to 3.13, but $(PYTHON) is %d.%d; choose one with: make $(MAKECMDGOALS) PYTHON=python3.11" % v)'
	@if test -x $(BIN)/python; then \
	  has=$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  asked=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  if test "$(origin PYTHON)" = "command line" && test $$has != $$asked; then \
	    echo "$(VENV) has Python $$has, but PYTHON=$(PYTHON) is $$asked; remove $(VENV) to change it" >&2; exit 1; fi; \
	else $(PYTHON) -m venv $(VENV); fi

# torch comes with its dependencies (on Linux those of its GPU build), everything else exactly as locked.
$(VENV)/.installed: requirements.lock pyproject.toml | python
	$(BIN)/python -m pip install --quiet --constraint requirements.lock $(TORCH)
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements-dev.lock
	touch $@

demo: python env
	$(BIN)/regzoo register
	$(BIN)/python -m regzoo.demo --model "$(MODEL)" --fasta "$(FASTA)" --bed "$(BED)" --vcf "$(VCF)" --out "$(OUT)"

test: python $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 -m "not slow and not official and not browser"

# Needs Chromium (CHROMIUM, default /usr/bin/chromium) and npm, which fetches axe-core into the environment's folder.
AXE := $(VENV)/axe/node_modules/axe-core/axe.min.js

$(AXE): | python
	npm install --silent --no-save --prefix $(VENV)/axe axe-core@4.10.3

test-browser: python $(VENV)/.installed-docs $(AXE)
	$(BIN)/python -m pip install --quiet "playwright>=1.49"
	AXE=$(abspath $(AXE)) $(BIN)/python -m pytest -n 0 -m browser tests/browser

# The documentation site in build/site. The versions of its tools are those of the extra `docs`.
$(VENV)/.installed-docs: pyproject.toml $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --constraint requirements-dev.lock --no-build-isolation --editable ".[docs]"
	touch $@

docs: python $(VENV)/.installed-docs
	$(BIN)/python -m website

lint: python $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check regzoo training tests benchmarks
	$(BIN)/mypy
	$(BIN)/deptry .

# Some requirements of kipoi-veff and kipoiseq do not install on a current Python, or need a compiler: overridden here.
OVERRIDES := pyvcf enum34 pyranges ncls sorted-nearest
COMPILE = uv pip compile pyproject.toml --universal --python-version 3.10 --override $(VENV)/overrides.txt \
  --no-annotate --no-header --quiet
CLEAN = grep -vE '^(nvidia-|cuda-|triton)' | sed -E 's/^torch==.*/$(TORCH)/' | uniq

lock: python
	$(BIN)/python -m pip install --quiet uv
	printf '%s; python_version < "3"\n' $(OVERRIDES) > $(VENV)/overrides.txt
	echo 'intervaltree>=3' >> $(VENV)/overrides.txt
	PATH="$(BIN):$$PATH" $(COMPILE) --extra veff --extra report --extra interpret --extra serve | $(CLEAN) > requirements.lock
	PATH="$(BIN):$$PATH" $(COMPILE) --extra veff --extra report --extra interpret --extra serve --extra training --extra test --extra docs --extra lint \
	  | $(CLEAN) > requirements-dev.lock
