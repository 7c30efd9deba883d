# make demo | make test | make env | make lock
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODEL ?= MotifResNet/tf-human
EXAMPLE := dataloaders/sequence/example
FASTA ?= $(EXAMPLE)/example.fa
BED ?= $(EXAMPLE)/example.bed
VCF ?= $(EXAMPLE)/example.vcf
OUT ?= demo

.PHONY: env demo test lock

env: $(VENV)/.installed

# torch comes with its dependencies (on Linux those of its GPU build), everything else exactly as locked.
$(VENV)/.installed: requirements.lock setup.cfg
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint requirements.lock torch==2.13.0
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

demo: env
	$(BIN)/regzoo register
	$(BIN)/python -m regzoo.demo --model "$(MODEL)" --fasta "$(FASTA)" --bed "$(BED)" --vcf "$(VCF)" --out "$(OUT)"

test: env
	$(BIN)/python -m pytest -n 2 -m "not slow and not official"

# kipoi-veff asks for pyvcf, enum34 and an intervaltree that do not install on a current Python: overridden here.
lock:
	$(PYTHON) -m pip install --quiet uv
	printf 'pyvcf; python_version < "3"\nenum34; python_version < "3"\nintervaltree>=3\n' > $(VENV)/overrides.txt
	uv pip compile setup.cfg --universal --python-version 3.10 --extra veff --extra training --extra report \
	  --extra test --override $(VENV)/overrides.txt --no-annotate --no-header --quiet \
	  | grep -vE '^(nvidia-|cuda-|triton)' | sed -E 's/^torch==.*/torch==2.13.0/' | uniq > requirements.lock
