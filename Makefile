# Every target first makes the machine able to run it (scripts/bootstrap), which takes milliseconds when it already is.

TOPOLOGY ?= topologies/overlay.yaml
python := .venv/bin/python
ONLY ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check bench format schema golden docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

demo: ## bring up a lab, test it, show what reaches what (root; TOPOLOGY=file for another)
	@scripts/bootstrap demo
	@scripts/demo $(TOPOLOGY)

check: ## the quick part: lint, types, tests without root
	@scripts/bootstrap check
	@scripts/check

test: ## every check and every test, also those with real switches (root)
	@scripts/bootstrap test
	@scripts/check --lab

bench: ## measure, beside the peers (root; ONLY=flows for some of it)
	@scripts/bootstrap bench
	@$(python) -m tests.bench.run $(ONLY)

format: ## put the code into its format, and fix what ruff can
	@scripts/bootstrap check
	@.venv/bin/ruff check --fix-only --quiet .
	@.venv/bin/ruff format .

schema: ## regenerate topologies/schema.json from the code
	@scripts/bootstrap check
	@$(python) -m sdn.topology.schema > topologies/.schema.new
	@mv topologies/.schema.new topologies/schema.json

golden: ## regenerate the golden files; read the diff before you commit it
	@scripts/bootstrap check
	@$(python) -m pytest -q tests/golden --update-golden
	@git --no-pager diff --stat -- tests/golden

docs: ## regenerate docs/pipeline.md from the code
	@scripts/bootstrap check
	@$(python) -c 'from sdn.docs import page; print(page(), end="")' > docs/.pipeline.new
	@mv docs/.pipeline.new docs/pipeline.md

clean: ## remove what was generated (not a running lab: sdn down)
	@rm -rf .venv build dist artifacts *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
