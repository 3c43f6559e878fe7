#!/usr/bin/env bash
# The tests, the soak, a benchmark, or the demo, with all the setup that they need. `make test`, `make test-ecosystem`,
# `make test-kills`, `make test-charts`, `make test-oldest`, `make soak`, `make bench`, `make bench-flood`, `make demo`,
# `make recording` and `make dashboard-picture` call this.
#
#   CLUSTER=sandbox  (default) sandboxes of its own on this machine
#   CLUSTER=existing your cluster and your broker: see CONTRIBUTING.md#test-on-your-own-cluster
set -euo pipefail
cd "$(dirname "$0")/.."
cluster=${CLUSTER:-sandbox}
begin=$SECONDS
target=${CARGO_TARGET_DIR:-target}

step() { printf '\n=== %s (%d s so far)\n' "$*" "$((SECONDS - begin))"; }

# The sandbox's own command: built together with everything else, so that no dependency is built twice with other features.
sandbox() { "$target/debug/sandbox" "$@"; }

# The test binaries that `prepare` has built.
built() { sed -n 's/.*"profile":{[^}]*"test":true}.*"executable":"\([^"]*\)".*/\1/p' "$target/built.json"; }

# Builds the operator, the sandbox and all tests, once: nothing is compiled while tests run.
prepare() {
  step "building"
  mkdir -p "$target"
  cargo build --workspace --all-targets --message-format json >"$target/built.json"
  real=$(built | grep '/real-[0-9a-f]*$')
  if [ "$cluster" = sandbox ]; then
    step "the sandbox: parts that are built once"
    sandbox build
  fi
  check_cluster
}

# Checks that CLUSTER is one of the two, and makes an existing cluster ready.
check_cluster() {
  case $cluster in
  sandbox) ;;
  existing)
    : "${KUBECONFIG:?with CLUSTER=existing, KUBECONFIG must say which cluster}"
    : "${KAFKA_BOOTSTRAP_SERVERS:?with CLUSTER=existing, KAFKA_BOOTSTRAP_SERVERS must say which broker}"
    PATH=$PATH:$(sandbox kafka-tools):$(sandbox manifest-tools)
    export PATH
    if [ -n "${KAFKA_3_BOOTSTRAP_SERVERS:-}" ]; then
      KAFKA_3_LIBS=$(sandbox kafka-tools --kafka-3)
      export KAFKA_3_LIBS
    else
      echo "KAFKA_3_BOOTSTRAP_SERVERS is not set: nothing is tested on Kafka 3"
    fi
    # An installed operator would work on the objects of the tests' own operators; the end-to-end tests restore it.
    kubectl --namespace offset-reset-system scale deployment/offset-reset-operator --replicas=0 2>/dev/null || true
    # Some tests show what happens without the policies; the end-to-end tests restore these bindings as well.
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

# Runs tests of real-tests: sandbox's name, then what their names contain and other arguments.
real() {
  local name=$1
  shift
  inside "$name" "$real" "$@"
}

# Sandbox's name, its parts, and what else `up` is told.
up() {
  local name=$1 parts=$2
  shift 2
  if [ "$cluster" = sandbox ]; then sandbox --name "$name" up --parts "$parts" "$@"; fi
}
down() { if [ "$cluster" = sandbox ] && [ -x "$target/debug/sandbox" ]; then sandbox --name "$1" down; fi; }

# Keeps the requests of the operator, before the sandbox goes with its audit log; the suite `rights` reads them.
keep_audit_log() {
  # shellcheck disable=SC2016
  if [ "$cluster" = sandbox ]; then inside "$1" sh -c 'cat "$SANDBOX_DIR/audit.log"' >"$target/audit-$1.log"; fi
}

images() {
  if [ "$cluster" = sandbox ]; then
    sandbox --name "$1" image operator --binary "$target/debug/offset-reset-operator" || return
    sandbox --name "$1" image kafka-client
  fi
}

# What runs beside the rest: process IDs by name. Each is the leader of a process group.
declare -A running=()

# Starts a function beside the rest: a name, then the function. Its output goes into target/NAME.log.
beside() {
  local name=$1
  shift
  # Before the function starts: `joined` may look for it sooner.
  : >"$target/$name.log"
  set -m
  "$@" >"$target/$name.log" 2>&1 </dev/null &
  set +m
  running[$name]=$!
}

# Parts that have failed. The others still run, so that one run shows every failure.
failed=()

# Shows the output of what runs beside the rest until it ends, and records whether it failed.
joined() {
  local status=0
  tail --lines +1 --follow --pid "${running[$1]}" "$target/$1.log"
  wait "${running[$1]}" || status=$?
  unset "running[$1]"
  if [ "$status" != 0 ]; then
    echo "FAILED: $1; its output is above and in $target/$1.log" >&2
    failed+=("$1")
  fi
}

# Even when a test fails, nothing that was started here stays.
clean() {
  for name in "${!running[@]}"; do kill -- "-${running[$name]}" 2>/dev/null || true; done
  for name in "$@"; do down "$name"; done
}

# Argument: a command that runs beside the tests, such as the linters; it fails the run when it fails.
tests() {
  trap 'clean integration outages e2e one two' EXIT
  prepare
  rm -f "$target"/audit-*.log
  if [ $# != 0 ]; then beside lint nice "$@"; fi
  beside unit unit
  # All of this waits most of the time. One after the other, so that there are two sandboxes at once and no more.
  if [ "$cluster" = sandbox ]; then beside apart apart; fi
  step "integration tests: a real API server, a real broker of each line of Kafka"
  beside integration integration
  joined integration
  if [ "$cluster" = sandbox ]; then
    step "in sandboxes of their own: outages, a flood, a large reset; a whole node; what a sandbox leaves behind"
    joined apart
    step "the operator's rights are exactly what it has used"
    beside rights rights
    joined rights
  else
    beside alone alone existing
    joined alone
    beside e2e e2e
    joined e2e
    echo "not tested: what happens when the broker or the API server goes away; only the sandbox's parts can be taken away"
    echo "not tested: whether the operator's rights are exactly what it uses; only the sandbox's API server has a log of that"
  fi
  step "unit tests; the model of the machine, explored in every order; without each of its guards"
  joined unit
  if [ $# != 0 ]; then
    step "$*"
    joined lint
  fi
  if [ ${#failed[@]} != 0 ]; then
    step "FAILED: ${failed[*]}"
    exit 1
  fi
  step "all tests passed"
}

# After all suites, because it reads the audit logs of all of them.
rights() {
  cat "$target"/audit-*.log >"$target/audit.log"
  AUDIT_LOG=$(realpath "$target/audit.log") "$real" rights::a_difference rights::the_rights --nocapture
}

# Behind the others: nothing in here waits for a time.
unit() {
  local status=0
  renice -n 10 "$BASHPID" >/dev/null
  # Not through cargo, which would wait until the linters have built what they need.
  for binary in $(built | grep -vxF "$real"); do
    echo "$binary"
    "$binary" --skip model:: || status=$?
  done
  for binary in $(built | grep -F /offset_reset_operator-); do
    "$binary" model:: --nocapture || status=$?
  done
  return "$status"
}

# In each of these a suite that fails does not keep the next one from running.
apart() {
  local status=0
  outages || status=$?
  e2e || status=$?
  tests/sandbox/hygiene.sh "$target/debug/sandbox" || status=$?
  return "$status"
}

# The suites that share an API server and a broker of each line of Kafka: sandbox's name.
shared_suites() {
  PROMETHEUS=$(sandbox prometheus)
  export PROMETHEUS
  # More threads than cores, because most tests wait most of the time.
  real "$1" admission:: canaries:: charts::rendered:: charts::valid:: connections:: connectors:: definition:: equivalence:: gitops:: input:: \
    kafka:: forecast:: kafka_tool:: leader:: logs:: monitoring:: namespaced:: pages:: plugin:: process:: resets:: starved:: targets:: \
    whole:: years:: \
    --test-threads 6 --skip ten_thousand
}

integration() {
  local status=0
  up integration control-plane --also-kafka-3 || return
  shared_suites integration || status=$?
  # After the others, because it keeps every core busy. It prints how many requests the operator survived.
  real integration kills:: --nocapture || status=$?
  keep_audit_log integration || status=$?
  down integration
  return "$status"
}

# Takes the broker and the API server away. Its requests are not kept: an API server that was just started again may refuse for a
# moment what it will allow.
outages() {
  local status=0
  up outages control-plane || return
  real outages outages:: --test-threads 1 --nocapture || status=$?
  alone outages || status=$?
  # Changes the CRD.
  real outages versions:: upgrade:: --test-threads 1 --nocapture || status=$?
  # Last, because it takes the CRD and the rights away that the others need.
  real outages uninstall:: --test-threads 1 --nocapture || status=$?
  down outages
  return "$status"
}

# Tests that need a broker and an API server for themselves: sandbox's name.
alone() {
  local status=0
  # It prints how long a sound reset took beside a flood of others.
  real "$1" flood:: --nocapture --test-threads 1 || status=$?
  # While it creates 10,000 partitions, the broker does not know other tests' new topics for seconds. It prints how long a file of
  # 10,000 lines took.
  real "$1" whole::large::ten_thousand --nocapture || status=$?
  return "$status"
}

e2e() {
  local status=0
  up e2e node || return
  images e2e || return
  real e2e e2e:: --test-threads 2 || status=$?
  if [ "$cluster" = sandbox ]; then demo_on e2e || status=$?; fi
  keep_audit_log e2e || status=$?
  down e2e
  return "$status"
}

soak() {
  if [ "$cluster" != sandbox ]; then
    echo "the soak kills parts of the cluster, so it runs in a sandbox of its own only" >&2
    exit 1
  fi
  trap 'down soak' EXIT
  prepare
  step "the soak: a whole node, of which parts are killed at random"
  up soak node
  images soak
  real soak soak:: --nocapture --test-threads 1
}

# The operator is measured as it is released.
release() {
  step "the operator, built for release"
  cargo build --release --bin offset-reset-operator
  OPERATOR=$(realpath "$target/release/offset-reset-operator")
  export OPERATOR
}

# Arguments: options of the benchmark, such as --quick, --only downtime, or --docs docs for the page.
bench() {
  if [ "$cluster" != sandbox ]; then
    echo "the benchmark reads the audit log and needs an image, so it runs in a sandbox of its own only" >&2
    exit 1
  fi
  trap 'down bench' EXIT
  prepare
  release
  up bench node
  sandbox --name bench image light-consumer --binary "$target/debug/light-consumer"
  step "the benchmark"
  inside bench "$target/debug/bench" --commit "$(git describe --always --dirty --exclude '*')" --out "$target/bench.json" "$@"
}

bench_flood() {
  trap 'down bench' EXIT
  prepare
  release
  up bench control-plane
  step "the flood"
  export FLOOD=long
  real bench flood:: --nocapture --test-threads 1
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
  step "beside the real KEDA and Flux"
  up ecosystem control-plane --ecosystem
  real ecosystem ecosystem:: --test-threads 4
  step "all tests beside KEDA and Flux passed"
}

# All of the runs, of which `integration` makes a share where a reset has a canary.
kills() {
  trap 'down kills' EXIT
  prepare
  step "the operator killed at every request, and every answer lost"
  up kills control-plane
  export KILLS_EVERY=1
  real kills kills:: --nocapture
}

charts() {
  if [ "$cluster" != sandbox ]; then
    echo "the chart installs the CRD and the policies of a whole cluster, so it is tested in a sandbox only: unset CLUSTER" >&2
    exit 1
  fi
  trap 'down charts' EXIT
  prepare
  step "the chart, by the real Helm on a node"
  up charts node
  images charts
  real charts charts:: --test-threads 1 --nocapture
  step "all tests of the chart passed"
}

# On the oldest version of Kubernetes that the README claims; `make test` runs on the newest.
oldest() {
  if [ "$cluster" != sandbox ]; then
    echo "the oldest version is tested in a sandbox only: unset CLUSTER" >&2
    exit 1
  fi
  trap 'down oldest' EXIT
  export SANDBOX_KUBERNETES=oldest
  prepare
  step "on the oldest version of Kubernetes"
  up oldest control-plane --also-kafka-3
  inside oldest kubectl version
  shared_suites oldest
  step "all tests on the oldest version of Kubernetes passed"
}

# The recording in the README, of a real run. termtosvg makes a picture of it, in a Python environment of its own.
recording() {
  local python=$target/recording
  trap 'down recording' EXIT
  prepare
  up recording control-plane
  step "the recording"
  RECORDING=$(realpath "$target")/recording.cast
  export RECORDING
  real recording plugin::recording:: --test-threads 1
  step "the picture"
  [ -x "$python/bin/termtosvg" ] || { python3 -m venv "$python" && "$python/bin/pip" install --quiet termtosvg==1.1.0 'setuptools<81'; }
  "$python/bin/termtosvg" render "$RECORDING" docs/recording.svg --template gjm8 --max-frame-duration 4000 --loop-delay 8000
}

# The picture of the dashboard in docs/monitoring.md: resets for some minutes, drawn from the answers of a real Prometheus.
dashboard_picture() {
  if [ "$cluster" != sandbox ]; then
    echo "the picture shows the policies and an operator with its own account, so it is made in a sandbox only: unset CLUSTER" >&2
    exit 1
  fi
  trap 'down picture' EXIT
  prepare
  up picture control-plane
  inside picture kubectl apply -k deploy/rights
  PROMETHEUS=$(sandbox prometheus)
  DASHBOARD_PICTURE=$(realpath docs)/dashboard.svg
  DASHBOARD_SECONDS=${DASHBOARD_SECONDS:-240}
  export PROMETHEUS DASHBOARD_PICTURE DASHBOARD_SECONDS
  step "resets for $DASHBOARD_SECONDS s, and the picture"
  real picture monitoring::picture:: --nocapture
}

# Not `prepare`, because a first look should neither wait for the tests to be compiled nor for their tools.
demo() {
  step "building"
  cargo build --workspace --bins
  check_cluster
  up default node --cluster-only
  images default
  demo_on default
}

# The demo on a sandbox that has the images: its name.
demo_on() {
  inside "$1" kubectl apply -k deploy/ || return
  # The image may be newer than the one that runs under the same name.
  inside "$1" kubectl -n offset-reset-system rollout restart deployment/offset-reset-operator || return
  inside "$1" kubectl -n offset-reset-system rollout status deployment/offset-reset-operator --timeout=120s || return
  step "the demo"
  inside "$1" tests/demo/run.sh
}

command=${1:-}
shift || true
case $command in
test) tests "$@" ;;
soak) soak ;;
bench) bench "$@" ;;
bench-flood) bench_flood ;;
ecosystem) ecosystem ;;
kills) kills ;;
charts) charts ;;
oldest) oldest ;;
demo) demo ;;
recording) recording ;;
dashboard-picture) dashboard_picture ;;
*)
  echo "usage: $0 test [COMMAND...] | ecosystem | kills | charts | oldest | soak | bench [OPTION...] | bench-flood | demo | recording | dashboard-picture" >&2
  exit 1
  ;;
esac
