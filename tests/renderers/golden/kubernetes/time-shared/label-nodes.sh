#!/usr/bin/env bash
# Labels the nodes of the cluster with their names and pools in the plan, by which Pods find them: label-nodes.sh [PLANNED=NODE ...]
# A planned node is taken to be the one with its address (InternalIP, Hostname) unless an argument says which it is.
set -euo pipefail
declare -A given=()
for argument in "$@"; do
  given["${argument%%=*}"]="${argument#*=}"
done
# Each node with its addresses, once.
nodes="$(kubectl get nodes -o 'jsonpath={range .items[*]}{.metadata.name}{range .status.addresses[*]} {.address}{end}{"\n"}{end}')"

label() {
  local planned="$1" host="$2" name="$3" pool="$4" node="${given[$1]:-}"
  if [[ -z "$node" ]]; then
    node="$(awk -v host="$host" '{ for (i = 1; i <= NF; i++) if ($i == host && !found) found = $1 } END { print found }' <<<"$nodes")"
  fi
  if [[ -z "$node" ]]; then
    printf 'no node of the cluster has the address %s of %s: say which it is, as %s=NODE\n' "$host" "$planned" "$planned" >&2
    return 1
  fi
  kubectl label --overwrite node "$node" ullage.dev/node="$name" ullage.dev/pool="$pool"
}

known=( h100-0 )
for argument in "${!given[@]}"; do
  if [[ " ${known[*]} " != *" $argument "* ]]; then
    printf '%s: no such node in the plan; it has %s\n' "$argument" "${known[*]}" >&2
    exit 1
  fi
done
label h100-0 127.0.0.1 h100-0 h100
