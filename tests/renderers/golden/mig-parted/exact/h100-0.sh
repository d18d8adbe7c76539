#!/usr/bin/env bash
# MIG layouts of node h100-0, each instance at the start slot of the plan. A GPU that has its layout is left alone; one
# that has another is cleared first, which the driver refuses while a process uses it. Needs nvidia-smi and the right to use it.
set -euo pipefail

# Profiles with their start slots, as the driver lists them: "4g.40gb:0 3g.40gb:4".
layout_of() {
  nvidia-smi mig -i "$1" -lgi 2>/dev/null |
    awk '/ MIG /{ for (i = 1; i < NF; i++) { if ($i == "MIG") profile = $(i + 1); if ($i ~ /^[0-9]+:[0-9]+$/) start = $i }
      sub(/:.*/, "", start); print start, profile }' | sort -n | awk '{ printf "%s%s:%s", (NR > 1 ? " " : ""), $2, $1 }' || true
}

# Whether MIG is switched on: without instances such a GPU is no device to anybody.
mig_mode() {
  nvidia-smi -i "$1" --query-gpu=mig.mode.current --format=csv,noheader 2>/dev/null || true
}

set_layout() {
  local gpu="$1" wanted="$2" now
  now="$(layout_of "$gpu")"
  if [[ "$now" == "$wanted" && ( -n "$wanted" || "$(mig_mode "$gpu")" != Enabled ) ]]; then
    printf 'GPU %s: unchanged (%s)\n' "$gpu" "${wanted:-undivided}"
    return
  fi
  if [[ -n "$now" ]]; then
    # There may be GPU instances without compute instances.
    nvidia-smi mig -i "$gpu" -dci || true
    nvidia-smi mig -i "$gpu" -dgi
  fi
  if [[ -n "$wanted" ]]; then
    nvidia-smi -i "$gpu" -mig 1
    nvidia-smi mig -i "$gpu" -cgi "${wanted// /,}" -C
  else
    nvidia-smi -i "$gpu" -mig 0
  fi
  now="$(layout_of "$gpu")"
  if [[ "$now" != "$wanted" ]]; then
    printf 'GPU %s: the driver lists "%s" where "%s" was asked for\n' "$gpu" "$now" "$wanted" >&2
    return 1
  fi
  printf 'GPU %s: %s\n' "$gpu" "${wanted:-undivided}"
}

set_layout 0 '4g.40gb:0 3g.40gb:4'
