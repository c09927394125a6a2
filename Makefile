# What people do here. `make help` lists it.
# PROFILE=release builds optimized programs (slower to build, several times faster to run).
PROFILE ?= dev
FOLDER := $(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
TARGET := $(or $(CARGO_TARGET_DIR),target)
TENURE := $(TARGET)/$(FOLDER)/tenure

.DEFAULT_GOAL := help
.PHONY: help up down test lint audit bench build tools console console-dev console-test console-if-possible console-check

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

up: tools console-if-possible build ## start everything privately under .tenure/ with a demo company; Ctrl-C stops it
	@$(TENURE) up $(UP)

down: ## stop it; `make down WIPE=1` removes all data too
	@$(TENURE) down $(if $(WIPE),--wipe)

console: ## the pages of the console, into console/dist; with a private Node
	@deploy/console.sh build

console-dev: ## the console's pages with hot reload, against the system that runs in .tenure/
	@deploy/console.sh dev

console-test: tools console build ## the console in a browser, over a private system; and its pictures with SCREENSHOTS=1
	@FOLDER=$(FOLDER) deploy/console.sh test

console-if-possible:
	@deploy/console.sh build --if-possible

console-check:
	@deploy/console.sh check --if-possible

test: tools lint console-check build ## everything that CI checks (ONLY=employee: one capability, and the rules of the repository)
	TENURE_TEST_BUILT=1 cargo test --profile $(PROFILE) --workspace --exclude bench $(if $(ONLY),-- $(ONLY) repository:: capabilities::code)
	@FOLDER=$(FOLDER) ONLY=$(ONLY) deploy/check-contract.sh
	@$(if $(ONLY),true,PROFILE=$(PROFILE) bench/instructions)

lint: ## formatting, clippy, licences
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	@deploy/check-dependencies.sh

audit: ## known vulnerabilities of all dependencies, by RustSec's database; needs the network
	@deploy/check-dependencies.sh --advisories

bench: tools ## measure against peers in the same run (BENCH="append hot": only those)
	@deploy/bench.sh $(BENCH)

build: ## the programs
	cargo build --profile $(PROFILE)

tools: ## PostgreSQL and the NATS server, where they are missing
	@deploy/install-tools.sh $(if $(filter up,$(MAKECMDGOALS)),--except-given)
