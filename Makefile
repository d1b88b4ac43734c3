# `make demo` runs the main job on a fresh machine; `make test` runs everything that a clean machine
# needs to trust it.
.DEFAULT_GOAL := help
.PHONY: help demo build bins test lint unit contract e2e test-terraform packaging chaos chaos-quick matrix matrix-quick figures loadtest loadtest-quick loadtest-max loadtest-baseline sim sabotage bench bench-checkpoint timings upgrades

TARGET := $(or $(CARGO_TARGET_DIR),target)
BALEFIRE := $(TARGET)/release/balefire
# What `make test` drives: built with the tests, so that a clean machine builds only once.
TESTED := $(TARGET)/debug/balefire

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

contract: ## proto/ against buf's STANDARD rules and against the last release
	deploy/tools/buf.sh lint proto
	deploy/tools/breaking.sh

bins: ## the binaries with debug checks
	cargo build --locked --workspace --bins

e2e: bins ## the whole way, as users run it
	deploy/tools/with-nats.sh "$$(deploy/tools/venv.sh e2e deploy/e2e/requirements.txt)/python" deploy/e2e/run.py --binary $(TESTED)
	deploy/tools/with-nats.sh "$$(deploy/tools/venv.sh e2e deploy/e2e/requirements.txt)/python" deploy/e2e/faults.py --binary $(TESTED)
	"$$(deploy/tools/venv.sh e2e deploy/e2e/requirements.txt)/python" deploy/e2e/sql_oracle.py --binary $(TESTED)

.PHONY: exporters
exporters: bins ## real exporters into a running Balefire: those of test-integrations that start quickly
	deploy/tools/with-nats.sh "$$(deploy/tools/venv.sh integrations deploy/e2e/requirements-integrations.txt)/python" deploy/e2e/integrations.py --binary $(TESTED)

.PHONY: test-integrations
test-integrations: bins ## OpenTelemetry's exporter, CloudWatch by moto, a LiteLLM proxy, into a running Balefire
	deploy/tools/with-nats.sh "$$(deploy/tools/venv.sh integrations deploy/e2e/requirements-integrations.txt)/python" deploy/e2e/integrations.py --binary $(TESTED) --litellm "$$(deploy/tools/venv.sh litellm deploy/e2e/requirements-litellm.txt)/litellm"

test-terraform: bins ## the provider under the real terraform; skipped where there is none, unless REQUIRED=1
	deploy/tools/with-nats.sh python3 deploy/e2e/terraform.py --binary $(TESTED) $(if $(REQUIRED),--required)

packaging: bins ## the image is made twice and started; units and compose file are linted
	"$$(deploy/tools/venv.sh e2e deploy/e2e/requirements.txt)/python" deploy/e2e/packaging.py --binary $(TESTED) --nats-server "$$(deploy/tools/nats-server.sh)"

E2E := deploy/tools/with-nats.sh "$$(deploy/tools/venv.sh e2e deploy/e2e/requirements.txt)/python"
chaos: build ## kills, stops, damages, full disks, lying clocks: 200 kills, 210,000 events, 15 minutes; SEED=n
	$(E2E) deploy/e2e/chaos.py --bin $(dir $(BALEFIRE)) $(if $(SEED),--seed $(SEED))

chaos-quick: bins ## the same in 2 to 3 minutes
	$(E2E) deploy/e2e/chaos.py --bin $(dir $(TESTED)) --seconds 50 --kills 25 --count 12000 --partitions 2 $(if $(SEED),--seed $(SEED))

matrix: build ## the same file through 1, 2, 4, 8 partitions and 1, 2, 3 instances of each service, without and with kills
	$(E2E) deploy/e2e/matrix.py --bin $(dir $(BALEFIRE))
	$(E2E) deploy/e2e/matrix.py --bin $(dir $(BALEFIRE)) --kills 6

matrix-quick: bins ## the same, the corners of it
	$(E2E) deploy/e2e/matrix.py --bin $(dir $(TESTED)) --partitions 1 4 --instances 1 2 --count 4000

upgrades: bins ## a rolling restart of every service, and two builds side by side; OLD=folder of an older build
	$(E2E) deploy/e2e/upgrades.py --binary $(TESTED) $(if $(OLD),--old-bin $(OLD))

timings: build ## fail-over, hand-over, restart, rebuild, checkpoints: one line a figure; on a quiet machine
	deploy/tools/with-nats.sh python3 deploy/e2e/timings.py --bin $(dir $(BALEFIRE))

.PHONY: revisions
revisions: bins ## a threshold changed twice under load while two ingests are on different revisions
	$(E2E) deploy/e2e/revisions.py --bin $(dir $(TESTED)) --models

.PHONY: canaries
canaries: bins ## personal data and secrets through every adapter: only EVIDENCE holds them afterwards
	$(E2E) deploy/e2e/canaries.py --binary $(TESTED)

TARGET_FUZZED ?= adapters
FUZZ_SECONDS ?= 60
.PHONY: fuzz
fuzz: ## bytes against what reads them, with cargo-fuzz and a nightly compiler: TARGET_FUZZED=adapters|native|otlp|field_map|batch|rules
	cargo +nightly fuzz run --fuzz-dir shared/fuzz $(TARGET_FUZZED) shared/fuzz/corpus/$(TARGET_FUZZED) services/ingest/core/tests/sources -- -max_total_time=$(FUZZ_SECONDS) -max_len=65536

.PHONY: told naughty
told: bins ## who is told and who is not: failing receivers and kills, storms, acknowledgements, heartbeats
	$(E2E) deploy/e2e/told.py --binary $(TESTED)

.PHONY: judges
judges: bins ## software of others judges: mail, syslog, findings, signatures, the vendors' clients our fakes, Alertmanager
	deploy/tools/with-nats.sh "$$(deploy/tools/venv.sh judges deploy/e2e/requirements-judges.txt)/python" deploy/e2e/judges.py --binary $(TESTED)

naughty: ## what others collected to break programs and turn models adds nothing to any body
	deploy/tools/naughty.sh
	cargo nextest run --workspace --locked -E 'package(balefire-notifier-core) and test(/others_collected/)'

SEEDS ?= 20000
SEED0 ?= 0
sim: ## the simulation: SEEDS=20000 seeds from SEED0=0 on
	cargo run --release --locked -q -p balefire-simulation --bin sim -- --seeds $(SEEDS) --seed0 $(SEED0)

sabotage: ## every deliberate fault of the simulation must be caught
	cargo run --release --locked -q -p balefire-simulation --bin sim -- --sabotage --seeds 5000 --seed0 $(SEED0)

bench: ## the engine alone: events/s of a core, bytes a key, memory of the state
	cargo bench --locked -q -p balefire-rule-engine-core --bench reference

bench-checkpoint: ## what checkpoints of the engine cost: stand-still, disk, bytes a key
	cargo bench --locked -q -p balefire-rule-engine --bench checkpoint

.PHONY: footprint
footprint: build ## start-up on an empty log, memory of each service with live users, ingest alone; on a quiet machine
	deploy/tools/with-nats.sh python3 deploy/e2e/footprint.py --bin $(dir $(BALEFIRE))

.PHONY: bench-redaction
bench-redaction: ## what masking costs: the same records admitted with and without it, by turns; fails over 15 %
	cargo bench --locked -q -p balefire-ingest-core --features unmasked --bench redaction

.PHONY: masking
masking: build ## what masking costs ingest's throughput: real processes, by gRPC into the log, by turns; on a quiet machine
	cargo build --release --locked -p balefire-ingest --features unmasked --target-dir $(TARGET)/unmasked
	deploy/tools/with-nats.sh python3 deploy/e2e/masking.py --bin $(dir $(BALEFIRE)) --unmasked $(TARGET)/unmasked/release

.PHONY: bench-whatif
bench-whatif: ## what-if beside the bare reading of the same messages, medians of three
	deploy/tools/with-nats.sh cargo bench --locked -q -p balefire-rule-engine --bench whatif

.PHONY: instructions peers
instructions: ## instructions an event of the three hottest functions, against those that are kept; BASELINE=1 keeps these
	python3 deploy/e2e/instructions.py $(if $(BASELINE),--write)

peers: build ## beside the bound of this machine, DuckDB and rsigma, on the same file in the same run; on a quiet machine
	$(E2E) deploy/e2e/peers.py --binary $(BALEFIRE) $(PEERS)

figures: build ## first figures of the whole way, from real processes
	deploy/tools/with-nats.sh python3 deploy/e2e/figures.py --binary $(BALEFIRE)

loadtest: build ## the load test, under 10 minutes; the page stays in loadtest/reports
	deploy/tools/with-nats.sh $(dir $(BALEFIRE))balefire-loadtest run steady steady@5000 sla flood join failover --rate 1000 --seconds 30 --slo loadtest/slo.toml --binary $(BALEFIRE)

loadtest-quick: build ## under 90 s: fails on loss, doubles and what is unexpected, never on a time
	deploy/tools/with-nats.sh $(dir $(BALEFIRE))balefire-loadtest run --rate 500 --books-only --binary $(BALEFIRE) $(if $(wildcard loadtest/baseline.toml),--baseline loadtest/baseline.toml)

.PHONY: loadtest-faults loadtest-prove
loadtest-faults: build ## faults on purpose, in front of the product and inside it: the report must fail and name each
	cargo build --locked --bin balefire --features balefire/sabotage --target-dir $(TARGET)/sabotage
	deploy/tools/with-nats.sh python3 deploy/e2e/loadtest.py --binary $(BALEFIRE) --sabotaged $(TARGET)/sabotage/debug/balefire

.PHONY: contained
contained: ## a build that panics over one escalation and one event of the feed: the rest is told all the same
	cargo build --locked --bin balefire --features balefire/sabotage --target-dir $(TARGET)/sabotage
	$(E2E) deploy/e2e/contained.py --binary $(TARGET)/sabotage/debug/balefire

loadtest-prove: build ## the generator alone: 1,000,000 planned events/s on one core
	$(dir $(BALEFIRE))balefire-loadtest prove

loadtest-max: build ## the highest rate at which the targets hold, by bisection; 2 to 4 minutes
	deploy/tools/with-nats.sh $(dir $(BALEFIRE))balefire-loadtest run max --pairs 0 --slo loadtest/slo.toml --binary $(BALEFIRE)

loadtest-baseline: build ## measure the ratio that loadtest-quick is held to; on a quiet machine, then commit it
	deploy/tools/with-nats.sh $(dir $(BALEFIRE))balefire-loadtest run --rate 500 --books-only --pairs 5 --write-baseline loadtest/baseline.toml --binary $(BALEFIRE)

test: contract unit e2e ## everything that a clean machine needs to trust it
	python3 deploy/demo/demo.py --binary $(TESTED) --nats-server "$$(deploy/tools/nats-server.sh)" --once

.PHONY: test-more
test-more: exporters test-terraform packaging matrix-quick revisions canaries upgrades told judges naughty chaos-quick ## what takes longer: exporters, the provider, the packages, changes under load, canaries, upgrades, who is told, kills of real processes
