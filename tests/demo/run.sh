#!/usr/bin/env bash
# The main job, shown on a real cluster and a real broker. Runs where KUBECONFIG and KAFKA_BOOTSTRAP_SERVERS point;
# `make demo` prepares that. Ends with 0 only if everything that it says held.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
brokers=${KAFKA_BOOTSTRAP_SERVERS:?run this with make demo}
: "${KUBECONFIG:?run this with make demo}"
ns=offset-reset-demo
topic=orders-$(date +%s)
begin=$SECONDS

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
fail() { printf '\nDEMO FAILED: %s\n' "$*" >&2; exit 1; }
k() { kubectl -n "$ns" "$@"; }
# Waits until a command succeeds; readiness of consumers has no event to wait for from here.
until_true() { local what=$1; shift; for _ in $(seq 1 300); do "$@" && return 0; sleep 0.3; done; fail "$what"; }
fill() { sed -e "s/BOOTSTRAP_SERVERS/$brokers/" -e "s/TOPIC/$topic/" -e "s/TIMESTAMP/${timestamp:-}/" "$1"; }
consumed() { k logs -l app=orders-consumer --tail=-1 --prefix=false 2>/dev/null | grep '^Partition:' || true; }
count() { consumed | grep -c "^Partition:$1" || true; }
no_lag() {
  kafka-consumer-groups --bootstrap-server "$brokers" --describe --group orders-consumer 2>/dev/null >"$work/lag" || return 1
  awk -v topic="$topic" '$2 == topic { rows++; lag += $6; if (!seen[$7]++) members++ } END { exit !(rows == 3 && members == 3 && lag == 0) }' "$work/lag"
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say "1. A namespace, a topic of three partitions, a hundred records in each"
kubectl delete namespace "$ns" --ignore-not-found --wait >/dev/null
kubectl create namespace "$ns" >/dev/null
kafka-topics --bootstrap-server "$brokers" --create --topic "$topic" --partitions 3 2>/dev/null
for round in first second; do
  # The second round is written a moment later, so that there is a time between the two to go back to.
  if [ "$round" = first ]; then numbers=$(seq 1 75); else sleep 1.1; timestamp=$(date +%s); sleep 1.1; numbers=$(seq 76 100); fi
  # The default partitioner puts these keys into partitions 0, 1 and 2 of three.
  for key in f a b; do
    for n in $numbers; do printf '%s:order %s\n' "$key" "$n"; done
  done >"$work/records"
  kafka-console-producer --bootstrap-server "$brokers" --topic "$topic" --reader-property parse.key=true --reader-property key.separator=: \
    <"$work/records" >/dev/null 2>&1
done
kafka-get-offsets --bootstrap-server "$brokers" --topic "$topic" 2>/dev/null

say "2. Three real consumers in one group (Kafka's own console consumer)"
fill "$here/consumer.yaml" | k apply -f - >/dev/null
k rollout status deployment/orders-consumer --timeout=120s
until_true "the consumers did not consume everything" no_lag
echo "The group has consumed everything, the lag is zero:"
cat "$work/lag"

say "3. The reset: what someone would apply"
fill "$here/reset.yaml" | tee "$work/reset.yaml"
k apply -f "$work/reset.yaml"

say "4. What happens, as it happens (kubectl get ofr -w)"
start=$(date +%s%N)
k get ofr replay-orders -w -o custom-columns='PHASE:.status.phase,REASON:.status.reason,MESSAGE:.status.message' --no-headers >"$work/watch" 2>/dev/null &
watch=$!
last=
shown=0
while :; do
  while IFS= read -r line; do
    shown=$((shown + 1))
    phase=${line%% *}
    if [ "$line" != "$last" ] && [ "$phase" != "<none>" ]; then
      printf '%6.1f s  %s\n' "$(awk -v a="$start" -v b="$(date +%s%N)" 'BEGIN { print (b - a) / 1e9 }')" "$(sed -E 's/ +/ /g' <<<"$line" | cut -c1-220)"
    fi
    last=$line
  done < <(tail -n +$((shown + 1)) "$work/watch")
  [ -n "$(k get ofr replay-orders -o 'jsonpath={.status.completionTime}')" ] && [ "$(wc -l <"$work/watch")" -le "$shown" ] && break
  [ $(( ($(date +%s%N) - start) / 1000000000 )) -gt 180 ] && fail "the reset did not end within three minutes"
  sleep 0.2
done
k wait --for=condition=ConsumersResumed ofr/replay-orders --timeout=120s >/dev/null || fail "the consumers did not come back"
kill "$watch" 2>/dev/null || true

say "5. What the status says now"
k get ofr replay-orders -o wide
echo
k get ofr replay-orders -o 'go-template={{range .status.partitions}}partition {{.partition}}: before {{.before}}, {{if .requestedTimestamp}}requested the time {{.requestedTimestamp}}{{else}}requested {{.requestedOffset}}{{end}}, target {{.targetOffset}}{{if .clamped}} (clamped: {{.clamped}}){{end}}, {{.outcome}}{{"\n"}}{{end}}{{"\n"}}{{range .status.conditions}}{{.type}}={{.status}} ({{.reason}}): {{.message}}{{"\n"}}{{end}}'

say "6. Did it hold?"
check() { if [ "$2" = "$3" ]; then echo "yes: $1 ($2)"; else fail "$1: $2 instead of $3"; fi; }
check "the reset succeeded" "$(k get ofr replay-orders -o 'jsonpath={.status.phase}')" Succeeded
check "the Deployment has its three replicas back" "$(k get deployment orders-consumer -o 'jsonpath={.spec.replicas}')" 3
check "partition 1 was clamped to its end, where it is" "$(k get ofr replay-orders -o 'jsonpath={.status.partitions[1].targetOffset} {.status.partitions[1].clamped} {.status.partitions[1].outcome}')" "100 AboveLogEnd Unchanged"
check "the offset of partition 0 that was read back" "$(k get ofr replay-orders -o 'jsonpath={.status.partitions[0].after} {.status.partitions[0].outcome}')" "60 Reset"
until_true "the lag is not zero again" no_lag
consumed >"$work/consumed"
check "records of partition 0 from offset 60 on were consumed again, by the consumers' own output" "$(grep -c '^Partition:0' "$work/consumed")" 40
check "the first of them" "$(grep '^Partition:0' "$work/consumed" | cut -f2 | cut -d: -f2 | sort -n | head -1)" 60
check "records of partition 1 that were consumed again" "$(grep -c '^Partition:1' "$work/consumed" || true)" 0
check "records of partition 2 from the time on were consumed again" "$(grep -c '^Partition:2' "$work/consumed")" 25
check "the first of them" "$(grep '^Partition:2' "$work/consumed" | cut -f2 | cut -d: -f2 | sort -n | head -1)" 75

say "Done in $((SECONDS - begin)) s, with the consumers held at zero for $(k get ofr replay-orders -o 'jsonpath={.status.hold.downtime}')"
prefix=
[ "${CLUSTER:-sandbox}" = existing ] || prefix="cargo sandbox exec -- "
cat <<TXT
Everything is left running. Three commands to try next:
  ${prefix}kubectl -n $ns describe ofr replay-orders
  ${prefix}kubectl -n $ns get events --field-selector involvedObject.name=orders-consumer
  ${prefix}kubectl explain ofr.spec.resets
TXT
