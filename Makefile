# `make demo` runs the main job on a fresh machine; `make test` runs everything that a clean machine
# needs to trust it.
.DEFAULT_GOAL := help
.PHONY: help demo build test lint unit contract e2e figures

BALEFIRE := $(or $(CARGO_TARGET_DIR),target)/release/balefire

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

build: ## the release binaries
	cargo build --release --locked --bins

demo: build ## the main job on a temporary data dir; ONCE=1 ends by itself
	python3 deploy/demo/demo.py --binary $(BALEFIRE) --nats-server "$$(deploy/tools/nats-server.sh)" $(if $(ONCE),--once)

lint: ## formatting, clippy, advisories and licences where cargo-deny is there
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

unit: ## unit, scenario, law and service tests (with a real nats-server)
	deploy/tools/with-nats.sh cargo nextest run --workspace --locked --no-fail-fast

contract: ## proto/ against buf's STANDARD rules
	deploy/tools/buf.sh lint proto

e2e: build ## the whole way, as users run it
	deploy/tools/with-nats.sh "$$(deploy/tools/venv.sh e2e deploy/e2e/requirements.txt)/python" deploy/e2e/run.py --binary $(BALEFIRE)

figures: build ## first figures of the whole way, from real processes
	deploy/tools/with-nats.sh python3 deploy/e2e/figures.py --binary $(BALEFIRE)

test: lint contract unit e2e ## everything
	$(MAKE) demo ONCE=1
