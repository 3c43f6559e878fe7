.DEFAULT_GOAL := help
.PHONY: help release-dry-run lint-workflows demo recording dashboard-picture test soak test-ecosystem test-kills test-charts test-oldest bench bench-quick bench-flood model lint audit fuzz sbom fmt crd reasons metrics manifests pages cli-docs docs-site plugin-release image clean-sandbox

help: ## says what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: ## shows the main job on a real cluster and a real broker
	@tests/run.sh demo

recording: ## records the kubectl plugin on a sandbox for the README, and makes docs/recording.svg of it
	@tests/run.sh recording

dashboard-picture: ## runs resets for DASHBOARD_SECONDS (240) beside a real Prometheus, and draws docs/dashboard.svg from its answers
	@tests/run.sh dashboard-picture

test: ## every test, with all the set-up that they need
	@tests/run.sh test

soak: ## resets for SOAK_SECONDS (600) on a real node while parts of it are killed at random; SOAK_SEED repeats one
	@tests/run.sh soak

test-ecosystem: ## beside the real KEDA and Flux; building them takes a quarter of an hour or more
	@tests/run.sh ecosystem

test-kills: ## the operator killed at every request, and every answer lost; `make test` makes one in sixteen of the runs with a canary
	@tests/run.sh kills

test-charts: ## the chart by the real Helm on a node: installed, upgraded, rolled back and uninstalled, also during a hold
	@tests/run.sh charts

test-oldest: ## on the oldest version of Kubernetes that is supported; building it takes a quarter of an hour
	@tests/run.sh oldest

bench: ## how fast the operator is, beside what people use without it: an hour or more; writes docs/performance.md
	@tests/run.sh bench --docs docs

bench-quick: ## the same with fewer rounds and smaller sizes: five minutes when all is built; writes target/bench.json
	@tests/run.sh bench --quick

bench-flood: ## how long a sound reset takes beside a thousand that lead nowhere, on an operator built for release
	@tests/run.sh bench-flood

# Optimized, because it takes long: only this crate and the explorer are built for it anew.
model: ## explores the model of the machine with more that goes wrong than `make test` does (long)
	MODEL=long cargo test --lib --config 'profile.dev.package.offset-reset-operator.opt-level=2' \
	  --config 'profile.dev.package.stateright.opt-level=3' -- model:: --nocapture --test-threads 1

lint: ## formatting, lints, licenses and sources of dependencies
	@.ci/lint

lint-workflows: ## the workflows by actionlint and zizmor, which are fetched in these versions
	go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
	pipx run zizmor==1.32.0 --offline .github/workflows

release-dry-run: ## builds all of a release that needs no registry into target/release-files, and says what it left out
	@.ci/release dry-run target/release-files

audit: ## looks for known weaknesses in the dependencies (RustSec); ADVISORY_DB names a copy of the database, where it cannot be fetched
	@.ci/tool cargo-audit 0.22.2 audit $(if $(ADVISORY_DB),--db $(ADVISORY_DB) --no-fetch --stale)

# cargo-fuzz needs a nightly compiler. What it finds is kept in fuzz/artifacts.
fuzz: ## lets a fuzzer try the parser and the planner for FUZZ_SECONDS (60)
	cd fuzz && RUSTUP_TOOLCHAIN=nightly ../.ci/tool cargo-fuzz 0.13.1 fuzz run spec --fuzz-dir . -- -max_total_time=$(or $(FUZZ_SECONDS),60) -timeout=10 -max_len=4096

sbom: ## writes target/sbom.json: what the operator is made of, as CycloneDX; for a release
	@.ci/tool cargo-cyclonedx 0.5.9 cyclonedx --quiet --format json --spec-version 1.5 --override-filename sbom
	@mkdir -p target && rm -f tests/*/sbom.json && mv sbom.json target/sbom.json && echo target/sbom.json

fmt: ## formats the code
	cargo fmt --all

crd: ## generates crds/ from the Rust types
	cargo run --quiet -- crd > crds/offsetresets.yaml.new
	mv crds/offsetresets.yaml.new crds/offsetresets.yaml

reasons: ## generates docs/reasons.md from the Rust types
	cargo run --quiet -- reasons > docs/reasons.md.new
	mv docs/reasons.md.new docs/reasons.md

metrics: ## generates docs/metrics.md from the Rust types
	cargo run --quiet -- metrics > docs/metrics.md.new
	mv docs/metrics.md.new docs/metrics.md

manifests: ## generates the chart's templates and README, and install.yaml, from deploy/ and the chart's values
	WRITE_MANIFESTS=1 cargo test --quiet --test offline -- manifests::written
	cargo test --quiet --test offline -- manifests::

pages: ## generates docs/api.md, docs/start/phases.md and its picture from the CRD and the machine's table of phases
	WRITE_PAGES=1 cargo test --quiet --test offline -- pages::written
	cargo test --quiet --test offline -- pages::

cli-docs: ## generates docs/cli.md from the help of the kubectl plugin
	cargo run --quiet -p kubectl-offset-reset -- docs > docs/cli.md.new
	mv docs/cli.md.new docs/cli.md

# mdBook renders Markdown as the repository's pages do, is one program without anything from elsewhere on its pages, and is built
# from crates.io in this version.
docs-site: ## builds the docs site into target/docs-site/html, and checks every link in it
	@INSTALL_OPTIONS="--no-default-features --features search" .ci/tool mdbook 0.5.4 --version
	@site/build.py $${CARGO_TARGET_DIR:-target}/docs-site .ci/tool mdbook 0.5.4

# Small rather than fast: it waits for the API server. For a static program: make plugin-release TARGET=x86_64-unknown-linux-musl
plugin-release: ## builds the kubectl plugin for a release, stripped; TARGET is a target of rustc
	cargo build --release -p kubectl-offset-reset $(if $(TARGET),--target $(TARGET)) --config 'profile.release.strip=true' \
	  --config 'profile.release.lto="thin"' --config 'profile.release.opt-level="s"' --config 'profile.release.codegen-units=1'

image: ## builds the operator's image from the Dockerfile, as a user would
	buildah build --tag offset-reset-operator:dev .

clean-sandbox: ## ends the sandbox that the demo leaves running
	cargo sandbox down
