#!/usr/bin/env bash
# The sandbox's own promises: `up` twice is harmless, two run side by side, `down` leaves nothing behind, even after a crash.
# The argument is the sandbox's binary, where it is built already.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=${1:-}
sandbox() { if [ -n "$binary" ]; then "$binary" "$@"; else cargo sandbox "$@"; fi; }

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
first() { sandbox --name "$1" status | sed -n 's/.*first process \([0-9]*\),.*/\1/p'; }
left() {
  local name=$1
  ps -eo args | grep -F -e "/offset-reset-sandbox/$name/" -e "supervise --name $name " | grep -v grep || true
  grep -F "offset-reset-sandbox/$name" /proc/mounts || true
  find /sys/fs/cgroup -maxdepth 3 -type d -name "offset-reset-sandbox-$name" 2>/dev/null || true
  [ ! -e "/run/offset-reset-sandbox/$name" ] || echo "/run/offset-reset-sandbox/$name"
}
# How many networks a sandbox has: its own, and one for each pod.
networks() { sandbox --name "$1" exec -- sh -c 'readlink /proc/[0-9]*/ns/net' 2>/dev/null | sort -u; }
# Every process in one of a sandbox's networks, as "network pid", sorted. Networks alone would not do: their numbers are used again.
holders() { everywhere | grep -E "^($(networks "$1" | tr -dc '0-9\n' | paste -sd '|')) "; }
everywhere() { ps -eo netns=,pid= | awk '{ print $1, $2 }' | sort; }
# Those of them that still hold it.
alive() { comm -12 <(printf '%s\n' "$1") <(everywhere); }
ask() { sandbox --name "$1" exec -- kubectl get nodes -o name 2>/dev/null; }

trap 'sandbox --name one down; sandbox --name two down' EXIT

sandbox --name one up --parts node --also-kafka-3
pid=$(first one)
sandbox --name one up --parts node --also-kafka-3
sandbox --name one up --parts node
check "up twice, or for less, leaves the first one as it is" "$(first one)" "$pid"

sandbox --name two up --parts control-plane
check "two run side by side: the first has a node" "$(ask one)" "node/sandbox"
check "two run side by side: the second is another cluster" "$(ask two)" ""

sandbox --name two down
check "down leaves nothing of the second" "$(left two)" ""
check "and the first still serves" "$(ask one)" "node/sandbox"

# With a pod in it, so that there are shims, mounts and cgroups to leave behind.
sandbox --name one exec -- kubectl create deployment idle --image=localhost/pause:sandbox --replicas=2 >/dev/null
sandbox --name one exec -- kubectl rollout status deployment/idle --timeout=60s >/dev/null
check "each pod has a network of its own" "$(networks one | wc -l)" 3
with_pods=$(holders one)
kill -9 "$pid"
sandbox --name one up --parts control-plane
check "after a crash it comes up again" "$(ask one)" ""
check "nothing holds a network of the crashed one" "$(alive "$with_pods")" ""

pid=$(first one)
etcd=$(pgrep -P "$pid" -x server)
check "without the flag there is one broker" "$(pgrep -P "$pid" -x java | wc -l)" 1
kill -9 "$etcd"
until [ -s /run/offset-reset-sandbox/one/ended ]; do sleep 0.1; done
sandbox --name one up --parts control-plane
check "a sandbox of which a part has ended is replaced" "$([ "$(first one)" != "$pid" ] && echo replaced)" "replaced"

pid=$(first one)
sandbox --name one kill kube-apiserver
check "a part that was killed is named" "$(cat /run/offset-reset-sandbox/one/ended)" "kube-apiserver was killed"
sandbox --name one start kube-apiserver
check "and serves as soon as it was started again" "$(sandbox --name one exec -- kubectl get --raw /readyz)" "ok"
sandbox --name one freeze kafka
check "a frozen part is named" "$(cat /run/offset-reset-sandbox/one/ended)" "kafka is frozen"
sandbox --name one thaw kafka
sandbox --name one up --parts control-plane
check "after that it is whole again and stays" "$(first one)" "$pid"

sandbox --name one up --parts control-plane --also-kafka-3
check "a sandbox that lacks the second broker is replaced" "$([ "$(first one)" != "$pid" ] && echo replaced)" "replaced"
check "and has it then" "$(pgrep -P "$(first one)" -x java | wc -l)" 2

rm -rf /run/offset-reset-sandbox/one
sandbox --name one down
check "down without its state directory leaves nothing" "$(left one)" ""

sandbox --name one up --parts control-plane &
sandbox --name one up --parts control-plane
wait $!
check "of two at once, one starts it and the other finds it" "$(ask one)" ""
control_plane=$(holders one)
kill -9 "$(first one)"
sandbox --name one down
check "down after a crash leaves nothing" "$(left one)" ""
check "nothing holds its network" "$(alive "$control_plane")" ""
sandbox --name one down
check "down of what is not there is harmless" "$(left one)" ""
echo "$passed passed, 0 failed"
