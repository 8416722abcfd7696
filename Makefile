# Halfmask. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT  ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null)
LDFLAGS := -s -w -X main.Version=$(VERSION) -X main.Commit=$(COMMIT)
TOOL    := $(GO) tool -modfile=$(CURDIR)/scripts/tools/go.mod
DATA    ?= .data

WEB_SOURCES := $(shell find collector/tracker dashboard/web -type f -not -path '*/dist/*' 2>/dev/null)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: engine
engine: ## Fetch the local ClickHouse engine (once, 180 MB)
	@scripts/engine/fetch

.PHONY: geoip
geoip: ## Fetch and convert a freely licensed country database (once)
	@scripts/geoip/fetch

node_modules/.package-lock.json: package.json package-lock.json
	npm ci --no-audit --no-fund
	@touch $@

.PHONY: web
web: .cache/web.stamp ## Build the tracker script and the dashboard's front end

.cache/web.stamp: node_modules/.package-lock.json $(WEB_SOURCES)
	npm run --silent build
	@mkdir -p .cache && touch $@

.PHONY: build
build: web ## Build bin/halfmask
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/halfmask ./cmd/halfmask

.PHONY: run
run: build engine geoip ## Build and start everything, with a demo site to click on
	@scripts/run $(DATA)

.PHONY: chromium
chromium:
	@scripts/chromium

.PHONY: lint
lint: web ## Check formatting, vet, staticcheck and the front end's types
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'gofmt would change these files'; exit 1; }
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	npm run --silent check

.PHONY: test
test: lint engine geoip chromium ## Run every test: real engine, real browser, race detector
	npm run --silent test:web
	$(GO) test -run Walsim ./ingest/spool
	$(TOOL) gotestsum --format pkgname-and-test-fails -- -race -timeout 14m ./...

.PHONY: walsim
walsim: ## Simulate power failures over the spool, WALSIM_SEEDS of them (default 100000, minutes)
	WALSIM_SEEDS=$(or $(WALSIM_SEEDS),100000) $(GO) test -timeout 6h -count 1 -v -run 'TestWalsim$$' ./ingest/spool

.PHONY: test-cluster
test-cluster: engine ## Run the tests of a replicated cluster: two real engines, a real ZooKeeper
	@scripts/zookeeper
	$(GO) test -tags cluster -timeout 20m -count=1 -run Cluster -v ./storage

.PHONY: fuzz
fuzz: ## Fuzz every parser, FUZZTIME each (default 30s)
	@scripts/fuzz $(or $(FUZZTIME),30s)

.PHONY: bench
bench: build engine geoip ## Measure the hot path and the whole; see bench/RESULTS.md
	@scripts/bench

.PHONY: chaos
chaos: build engine ## Kill, stop and fill everything under load: nothing may be lost (CHAOS_KILLS=500, CHAOS_OUTAGE=1m)
	@scripts/chaos $(or $(CHAOS_KILLS),500) $(or $(CHAOS_OUTAGE),1m) $(CHAOS_ARGS)

.PHONY: clean
clean: ## Remove what was built; fetched files and data stay
	rm -rf bin .cache/web.stamp
	find collector/tracker/dist dashboard/dist -type f -not -name README -delete
