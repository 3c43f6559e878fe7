#!/usr/bin/env bash
# The sandbox's own promises: `up` twice is harmless, two run side by side, `down` leaves nothing behind, also after a crash.
set -euo pipefail
cd "$(dirname "$0")/../.."

passed=0
check() {
  if [ "$2" = "$3" ]; then
    passed=$((passed + 1))
    echo "ok: $1"
  else
    printf 'FAILED: %s:\n%s\ninstead of:\n%s\n' "$1" "$2" "$3" >&2
    exit 1
  fi
}
first() { cargo sandbox --name "$1" status | sed -n 's/.*first process \([0-9]*\),.*/\1/p'; }
left() {
  local name=$1
  ps -eo args | grep -F "/offset-reset-sandbox/$name" | grep -v grep || true
  grep -F "offset-reset-sandbox/$name" /proc/mounts || true
  find /sys/fs/cgroup -maxdepth 3 -type d -name "offset-reset-sandbox-$name" 2>/dev/null || true
  [ ! -e "/run/offset-reset-sandbox/$name" ] || echo "/run/offset-reset-sandbox/$name"
}
namespaces() { lsns -n -o NS -t net | sort; }
ask() { cargo sandbox --name "$1" exec -- kubectl get nodes -o name 2>/dev/null; }

before=$(namespaces)
trap 'cargo sandbox --name one down; cargo sandbox --name two down' EXIT

cargo sandbox --name one up --parts node
pid=$(first one)
cargo sandbox --name one up --parts node
check "up twice leaves the first one as it is" "$(first one)" "$pid"

cargo sandbox --name two up --parts control-plane
check "two run side by side: the first has a node" "$(ask one)" "node/sandbox"
check "two run side by side: the second is another cluster" "$(ask two)" ""

cargo sandbox --name two down
check "down leaves nothing of the second" "$(left two)" ""
check "and the first still serves" "$(ask one)" "node/sandbox"

# With a pod in it, so that there are shims, mounts and cgroups to leave behind.
cargo sandbox --name one exec -- kubectl create deployment idle --image=localhost/pause:sandbox --replicas=2 >/dev/null
cargo sandbox --name one exec -- kubectl rollout status deployment/idle --timeout=60s >/dev/null
kill -9 "$pid"
cargo sandbox --name one up --parts control-plane
check "after a crash it comes up again" "$(ask one)" ""
kill -9 "$(first one)"
cargo sandbox --name one down
check "down after a crash leaves nothing" "$(left one)" ""
check "no network namespace is left" "$(namespaces)" "$before"
cargo sandbox --name one down
check "down of what is not there is harmless" "$(left one)" ""
echo "$passed passed, 0 failed"
