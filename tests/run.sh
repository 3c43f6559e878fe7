#!/usr/bin/env bash
# The tests, the soak, a benchmark, or the demo, with all the set-up that they need. `make test`, `make test-ecosystem`, `make soak`,
# `make bench-flood` and `make demo` call this.
#
#   CLUSTER=sandbox  (default) a sandbox of our own on this machine
#   CLUSTER=existing a cluster and a broker of yours: KUBECONFIG and KAFKA_BOOTSTRAP_SERVERS must be set, and the images
#                    offset-reset-operator:dev and kafka-client:dev must be there (see README.md). KAFKA_3_BOOTSTRAP_SERVERS
#                    may name a broker of the line of Kafka 3 as well; without it, what compares the lines runs on the one
set -euo pipefail
cd "$(dirname "$0")/.."
cluster=${CLUSTER:-sandbox}
begin=$SECONDS
target=${CARGO_TARGET_DIR:-target}

step() { printf '\n=== %s (%d s so far)\n' "$*" "$((SECONDS - begin))"; }

# The sandbox's own command: built together with everything else, so that no dependency is built twice with other features.
sandbox() { "$target/debug/sandbox" "$@"; }

prepare() {
  step "building"
  cargo build --workspace --features real-parts
  case $cluster in
  sandbox)
    step "the sandbox: parts that are built once"
    sandbox build
    ;;
  existing)
    : "${KUBECONFIG:?with CLUSTER=existing, KUBECONFIG must say which cluster}"
    : "${KAFKA_BOOTSTRAP_SERVERS:?with CLUSTER=existing, KAFKA_BOOTSTRAP_SERVERS must say which broker}"
    PATH=$PATH:$(sandbox kafka-tools)
    export PATH
    if [ -n "${KAFKA_3_BOOTSTRAP_SERVERS:-}" ]; then
      KAFKA_3_LIBS=$(sandbox kafka-tools --kafka-3)
      export KAFKA_3_LIBS
    else
      echo "KAFKA_3_BOOTSTRAP_SERVERS is not set: nothing is tested on Kafka 3"
    fi
    # One that is installed already would work on the objects of the tests' own operators; the end-to-end tests bring it back.
    kubectl --namespace offset-reset-system scale deployment/offset-reset-operator --replicas=0 2>/dev/null || true
    # The tests show what happens without the policies, too; the end-to-end tests bring them back as well.
    kubectl delete validatingadmissionpolicybinding --ignore-not-found offset-reset-targets offset-reset-secrets offset-reset-memory
    ;;
  *)
    echo "CLUSTER=$cluster is neither 'sandbox' nor 'existing'" >&2
    exit 1
    ;;
  esac
}

# Runs a command where the cluster is: sandbox's name, then the command.
inside() {
  local name=$1
  shift
  if [ "$cluster" = sandbox ]; then sandbox --name "$name" exec -- "$@"; else "$@"; fi
}

# Sandbox's name, its parts, and what else `up` is told.
up() {
  local name=$1 parts=$2
  shift 2
  if [ "$cluster" = sandbox ]; then sandbox --name "$name" up --parts "$parts" "$@"; fi
}
down() { if [ "$cluster" = sandbox ]; then sandbox --name "$1" down; fi; }

# Keeps what the operator has asked of the API server, before the sandbox goes with it; `rights` reads it.
keep_audit_log() {
  # shellcheck disable=SC2016
  if [ "$cluster" = sandbox ]; then inside "$1" sh -c 'cat "$SANDBOX_DIR/audit.log"' >>"$target/audit.log"; fi
}

images() {
  if [ "$cluster" = sandbox ]; then
    sandbox --name "$1" image operator --binary "$target/debug/offset-reset-operator"
    sandbox --name "$1" image kafka-client
  fi
}

tests() {
  # Also when a test fails: nothing that was started here stays.
  trap 'down integration; down outages; down e2e' EXIT
  prepare
  step "unit tests"
  cargo test --workspace --features real-parts --lib --bins --test committed --test kafka_faults -- --skip model::
  step "the model of the machine, explored in every order; without each of its guards"
  cargo test --workspace --features real-parts --lib -- model:: --nocapture
  cargo build --tests --features real-parts

  : >"$target/audit.log"

  step "integration tests: a real API server, a real broker of each line of Kafka"
  # Takes the broker and the API server away, so it has a sandbox of its own; and it waits most of the time, so the others run meanwhile.
  if [ "$cluster" = sandbox ]; then
    outages >"$target/outages.log" 2>&1 &
    outages=$!
  fi
  up integration control-plane --also-kafka-3
  inside integration cargo test --features real-parts --test kafka --test kafka_tool --test logs --test definition --test input --test process \
    --test leader --test resets --test whole --test targets --test admission --test namespaced --test equivalence --no-fail-fast -- --test-threads 4 --skip ten_thousand
  # Most of them wait for half a minute until something is given up, so all of them at once.
  inside integration cargo test --features real-parts --test connections -- --test-threads 16
  if [ "$cluster" = sandbox ]; then
    wait "$outages" || { cat "$target/outages.log"; exit 1; }
    cat "$target/outages.log"
  else
    echo "not tested: what happens when the broker or the API server goes away; only the sandbox's parts can be taken away"
  fi
  # By itself, for it keeps every core busy; and said aloud, for it prints how many requests were survived.
  inside integration cargo test --features real-parts --test kills -- --nocapture
  # By itself, and said aloud, for it prints how long a sound reset took beside a flood of others.
  inside integration cargo test --features real-parts --test flood -- --nocapture --test-threads 1
  # By itself: a broker that makes 10,000 partitions on two cores does not know other tests' new topics for seconds.
  inside integration cargo test --features real-parts --test whole -- ten_thousand
  keep_audit_log integration
  down integration

  step "end-to-end tests: a whole node, the operator in its pod"
  up e2e node
  images e2e
  inside e2e cargo test --features real-parts --test e2e -- --test-threads 2
  keep_audit_log e2e
  down e2e

  if [ "$cluster" = sandbox ]; then
    step "the operator's rights are exactly what it has used"
    AUDIT_LOG=$(realpath "$target/audit.log") cargo test --features real-parts --test rights -- --nocapture
    step "the sandbox leaves nothing behind"
    tests/sandbox/hygiene.sh
  else
    echo "not tested: whether the operator's rights are exactly what it uses; only the sandbox's API server has a log of that"
  fi
  step "all tests passed"
}

# Not in the audit log, for an API server that has just come back may refuse for a moment what it will allow.
outages() {
  up outages control-plane
  inside outages cargo test --features real-parts --test outages -- --test-threads 1 --nocapture
  down outages
}

soak() {
  if [ "$cluster" != sandbox ]; then
    echo "the soak kills parts of the cluster, so it runs in a sandbox of its own only" >&2
    exit 1
  fi
  trap 'down soak' EXIT
  prepare
  step "the soak: a whole node, of which parts are killed at random"
  cargo build --features real-parts --test soak
  up soak node
  images soak
  inside soak cargo test --features real-parts --test soak -- --nocapture --test-threads 1
}

bench_flood() {
  trap 'down bench' EXIT
  prepare
  step "the operator, built for release"
  cargo build --release --bin offset-reset-operator
  cargo build --features real-parts --test flood
  up bench control-plane
  step "the flood"
  OPERATOR=$(realpath "$target/release/offset-reset-operator")
  export OPERATOR FLOOD=long
  inside bench cargo test --features real-parts --test flood -- --nocapture --test-threads 1
}

ecosystem() {
  if [ "$cluster" != sandbox ]; then
    echo "beside KEDA and Flux it is tested in a sandbox only: unset CLUSTER" >&2
    exit 1
  fi
  trap 'down ecosystem' EXIT
  prepare
  step "KEDA and Flux: built once"
  sandbox build --ecosystem
  cargo build --test ecosystem --features real-parts
  step "beside the real KEDA and Flux"
  up ecosystem control-plane --ecosystem
  inside ecosystem cargo test --features real-parts --test ecosystem -- --test-threads 4
  step "all tests beside KEDA and Flux passed"
}

demo() {
  prepare
  step "the operator"
  cargo build
  up default node
  images default
  inside default kubectl apply -k deploy/
  # The image may be newer than the one that runs under the same name.
  inside default kubectl -n offset-reset-system rollout restart deployment/offset-reset-operator
  inside default kubectl -n offset-reset-system rollout status deployment/offset-reset-operator --timeout=120s
  step "the demo"
  inside default tests/demo/run.sh
}

case ${1:-} in
test) tests ;;
soak) soak ;;
bench-flood) bench_flood ;;
ecosystem) ecosystem ;;
demo) demo ;;
*)
  echo "usage: $0 test | ecosystem | soak | bench-flood | demo" >&2
  exit 1
  ;;
esac
