# Each noun is one thing to have. Tools are fetched at pinned versions (.ci/tool).
.DEFAULT_GOAL := help
.PHONY: help build run run-real smoke test lint generate sim crash mutants bench peers verify

# Seeds of make sim, rounds of make crash and the seed that plans them.
SEEDS ?= 200
ROUNDS ?= 20
SEED ?= 1
# Where make bench and make peers leave all their figures; ARGS are their flags.
LOAD_JSON = docs/performance-load.json
PEERS_JSON = docs/performance-peers.json
# Mutants of make mutants: hub, agent or all.
SCOPE ?= all

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## bin/entente
	go build -o bin/entente ./cmd/entente

run: ## two companies, a hub and two sandbox ticket systems in one process
	go run ./cmd/entente dev

run-real: ## the same with a real Redmine and a real Request Tracker (Debian, root)
	.ci/setup-real
	go run ./bench/realpair

smoke: ## the round trip by itself: JSON report, exit 0 or 1
	go run ./cmd/entente dev --check

test: ## every test with the race detector; installs what it needs where it can
	.ci/test

lint: ## linters and schemas
	.ci/tool golangci-lint run ./...
	.ci/tool buf lint

generate: ## Go code of the schemas
	.ci/tool buf generate

sim: ## simulation from SEEDS seeds
	SEEDS=$(SEEDS) go test -count=1 -timeout 60m ./bench/sim

crash: ## ROUNDS rounds of faults against a hub of three processes (root, FUSE)
	ROUNDS=$(ROUNDS) SEED=$(SEED) go test -count=1 -v -timeout 120m -run '^TestHub$$' ./bench/crash

mutants: ## builds with one bug at a time, and the test that finds it; SCOPE=hub|agent|all
	SCOPE=$(SCOPE) go test -count=1 -v -timeout 240m -run '^TestPlay$$' ./bench/mutants

bench: ## merge ns/op; a hub's throughput, latency and memory against its ceiling
	go test -run '^$$' -bench . -benchmem ./crdt/...
	go run ./bench/load -json $(LOAD_JSON) -markdown docs/performance.md $(ARGS)
	go run ./bench/goals $(LOAD_JSON) $(PEERS_JSON) docs/performance.md

peers: ## the same work for etcd, NATS, Redis and PostgreSQL; installs what it can (Debian, root)
	.ci/setup-peers
	cd bench/peers && go run . -json ../../$(PEERS_JSON) -markdown ../../docs/performance.md $(ARGS)
	go run ./bench/goals $(LOAD_JSON) $(PEERS_JSON) docs/performance.md

verify: ## all that a change must pass
	.ci/run
