.PHONY: engine
engine: ## Fetch the local ClickHouse engine (once, 180 MB)
	@scripts/engine/fetch

.PHONY: geoip
geoip: ## Fetch and convert a freely licensed country database (once)
	@scripts/geoip/fetch
