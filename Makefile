# Everything runs in .venv, which the first command makes. Only Python 3.11 or newer is needed; who
# changes the studio's page needs Node 20.19 or newer too.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT := out
# Whether there is a Node recent enough to check and build the page.
NODE := $(shell node -e 'const [a, b] = process.versions.node.split("."); \
  process.exitCode = a > 20 || (a == 20 && b >= 19) ? 0 : 1' 2> /dev/null && echo yes)

.PHONY: demo test fuzz check web cluster page studio reproductions references priors digits catalogue pictures bench examples clean
.DEFAULT_GOAL := demo

# Turn a built-in handwritten 7 into a 2, and X-ray the network that read it. Uses no network once
# it is installed.
demo: $(VENV)/.user
	@$(BIN)/fluoroscope morph --model digits-cnn --image digits:7 --to 2 --gif --out $(OUT)/demo
	@echo
	@$(BIN)/fluoroscope xray --model digits-cnn --data digits --limit 300 \
	  --out $(OUT)/demo/report.html
	@echo
	@echo "Open $(abspath $(OUT))/demo/report.html in a browser: the X-ray of the network."
	@echo "Beside it: $(OUT)/demo/morph.gif and $(OUT)/demo/curve.png. Then try:"
	@echo "  $(BIN)/fluoroscope gradient --model digits-cnn --image digits:5 --class 5 --class 8"
	@echo "  $(BIN)/fluoroscope morph --model digits-cnn --image noise --to 3 --gif"
	@echo "  $(BIN)/fluoroscope models list"

# The whole suite. First style, types and layers, the page's own, and the tests of clusters, two of
# these at a time, as each alone leaves a core idle; then all others, one thread to each of two
# processes.
test:
	@$(MAKE) --no-print-directory --jobs 2 check web cluster
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m "not cluster"

# The tests with a cluster or other processes, in a process of their own. What tests start reads the
# bytecode of the package, also where Python is told to write none.
cluster: $(VENV)/.developer
	$(BIN)/python -m compileall -q src
	OMP_NUM_THREADS=1 $(BIN)/pytest -m cluster tests/evaluation/test_cluster.py \
	  tests/neurons/test_read_on_a_cluster.py tests/training/test_processes.py

# Sends changed files through every door that a stranger's may come through, two doors at once, for
# about so long in all. FUZZ_SEED=… sends the same ones again.
MINUTES ?= 10
FUZZ_SEED ?= $(shell date +%s)
fuzz: $(VENV)/.developer
	@echo "FUZZ_SEED=$(FUZZ_SEED)"
	FUZZ_SEED=$(FUZZ_SEED) FUZZ_SECONDS=$$(( $(MINUTES) * 60 / 8 )) OMP_NUM_THREADS=1 \
	  $(BIN)/pytest -n 2 tests/fuzz

check: $(VENV)/.developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The types and the units of the studio's page.
ifeq ($(NODE),yes)
web: web/node_modules/.package-lock.json
	cd web && npm run --silent check && npm run --silent test
else
web:
	@echo "the checks of the studio's page are skipped: Node 20.19 or newer is absent"
endif

# Builds the page that the studio serves and the repository keeps.
page: web/node_modules/.package-lock.json
	cd web && npm run --silent build

# Opens the studio on the built-in networks and digits.
studio: $(VENV)/.studio
	$(BIN)/fluoroscope studio

# Writes docs/reproductions.md; needs the networks and data sets in ../shared.
reproductions: $(VENV)/.developer
	$(BIN)/python -m reproductions

# Measures anew the curves that reports show beside a network's own; those whose networks or pictures
# are not in ../shared stay as they are.
references: $(VENV)/.developer
	$(BIN)/python -m reproductions.references

# Measures anew what the package knows of natural colour and of the digits, for portraits; that of
# colour needs the pictures in ../shared.
priors: $(VENV)/.developer
	$(BIN)/python -m reproductions.priors

# Writes anew the digits of the package, which are scikit-learn's.
digits: $(VENV)/.developer
	$(BIN)/python -m fluoroscope.data.digits

# Writes down what the attacks say of themselves, for `fluoroscope attacks`.
catalogue: $(VENV)/.user
	$(BIN)/python -m fluoroscope.attacks.registry

# Makes the pictures of README.md and of the pages in docs/ anew; needs ../shared and Chromium.
pictures: $(VENV)/.developer
	$(BIN)/python -m reproductions.docs_pictures
	$(BIN)/python -m reproductions.studio_pictures

# Writes docs/benchmarks.md; one section alone: .venv/bin/python -m benchmarks NAME.
bench: $(VENV)/.developer
	$(BIN)/python -m benchmarks

# Runs the notebooks anew and keeps what they show.
examples: $(VENV)/.developer
	OMP_NUM_THREADS=1 $(BIN)/python -m examples

clean:
	rm -rf $(VENV) $(OUT) build dist src/*.egg-info web/node_modules

$(VENV)/.user: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[hub]'
	@touch $@

$(VENV)/.developer: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.user $(VENV)/.studio

$(VENV)/.studio: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[hub,studio]'
	@touch $@ $(VENV)/.user

# What the lock file names.
web/node_modules/.package-lock.json: web/package.json web/package-lock.json
	cd web && npm ci --prefer-offline --no-audit --no-fund --loglevel error
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "fluoroscope needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
