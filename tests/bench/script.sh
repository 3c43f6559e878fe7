#!/usr/bin/env bash
# What a person on call types to reset a group without the operator. Arguments: namespace, group, topic, replicas.
set -euo pipefail
namespace=$1 group=$2 topic=$3 replicas=$4
servers=$KAFKA_BOOTSTRAP_SERVERS

kubectl --namespace "$namespace" scale deployment/consumer --replicas=0
kubectl --namespace "$namespace" wait --for=delete pod --selector app=consumer --timeout=120s
until kafka-consumer-groups --bootstrap-server "$servers" --describe --group "$group" --state | grep -qw Empty; do sleep 1; done
kafka-consumer-groups --bootstrap-server "$servers" --group "$group" --topic "$topic" --reset-offsets --shift-by -10 --execute
kubectl --namespace "$namespace" scale deployment/consumer --replicas="$replicas"
kubectl --namespace "$namespace" rollout status deployment/consumer --timeout=120s
