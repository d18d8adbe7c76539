#!/usr/bin/env bash
# Tells the MIG manager of NVIDIA's GPU operator the layout of each node: label-nodes.sh [PLANNED=NODE ...]
# A planned node is taken to have the same name in the cluster unless an argument says which it is.
set -euo pipefail
declare -A given=()
for argument in "$@"; do
  given["${argument%%=*}"]="${argument#*=}"
done

label() {
  kubectl label --overwrite node "${given[$1]:-$1}" nvidia.com/mig.config="$2"
}

known=( h100-0 )
for argument in "${!given[@]}"; do
  if [[ " ${known[*]} " != *" $argument "* ]]; then
    printf '%s: no such node in the plan; it has %s\n' "$argument" "${known[*]}" >&2
    exit 1
  fi
done
label h100-0 h100-0
