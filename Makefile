# Everything is below this directory: .venv/ holds Ansible and the test tools, .demo/ the demo, .cache/ what the tests build.
# Another Python, of 3.11 to 3.14, is named like this: make PYTHON=python3.12 demo

PYTHON ?= python3
# how many tests run at once
JOBS ?= auto
# 1: every case of the long tables, of which else a sample is run
ALL ?=
# how often each two are measured side by side
PAIRS ?= 7

.PHONY: help demo looked clean-demo test check lint unit integration molecule matrix matrix-few bench collection release clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | while IFS="$$(printf '\t')" read -r target does; do \
		printf '  make %-13s %s\n' "$$target" "$$does"; done

demo: looked .venv/.made ## a Rattail server below .demo/, and the role run on it
	@.venv/bin/python scripts/demo.py

looked:
	@$(PYTHON) scripts/demo.py --look

clean-demo: ## stop the demo's database server and remove .demo/
	@$(PYTHON) scripts/demo.py --remove

test: check molecule ## all tests: linters, unit, integration, Molecule

check: lint unit integration ## all tests that need no containers

lint: .venv/.made-dev ## linters, type checks, and the documentation of role and modules
	@scripts/lint

unit: .venv/.made-dev ## tests of single functions
	@.venv/bin/pytest -n $(JOBS) tests/unit

integration: .venv/.made-dev ## tests against a real PostgreSQL and the real Rattail
	@RATTAIL_TEST_ALL=$(ALL) .venv/bin/pytest -n $(JOBS) --dist worksteal --durations 25 tests/integration

molecule: .venv/.made-dev ## whole servers in containers; sets Podman up where it is missing
	@scripts/podman-setup
	@scripts/molecule-all

matrix: .venv/.made-dev ## the role with every release in supported.toml, as a table of cells
	@.venv/bin/python matrix

matrix-few: .venv/.made-dev ## the six cells that cover most
	@.venv/bin/python matrix --few

bench: .venv/.made-dev ## what the role costs beside what it replaces, as a table of ratios
	@.venv/bin/python bench --pairs $(PAIRS)

collection: .venv/.made ## dist/*.tar.gz, the same as a collection, for ansible-galaxy collection install
	@.venv/bin/python scripts/collection.py

release: .venv/.made ## commit and tag VERSION, whose changelog is written, see docs/releasing.md
	@.venv/bin/python scripts/release.py $(VERSION)

clean: clean-demo ## remove the demo, .venv/ and .cache/
	@for each in .cache/postgres .cache/matrix/postgres-*[0-9]; do $(PYTHON) scripts/embedded_postgres.py remove $$each; done
	@rm -rf .venv .cache dist

.venv/.made: requirements.txt requirements-postgres.txt scripts/make_env.py
	@$(PYTHON) scripts/make_env.py .venv requirements.txt requirements-postgres.txt

.venv/.made-dev: $(filter-out requirements-wutta.txt requirements-build.txt,$(wildcard requirements*.txt)) scripts/make_env.py
	@$(PYTHON) scripts/make_env.py .venv requirements-dev.txt --stamp .made-dev
