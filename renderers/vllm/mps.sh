# shellcheck shell=bash
# NVIDIA MPS: one daemon for each GPU that engines share by it, since a fault of one engine ends all clients of a daemon. An engine
# finds its daemon by the folder of its pipes; where none answers there, CUDA silently runs without MPS. Needs the variable run, unless
# ULLAGE_MPS_PIPES is the folder of a daemon that somebody else runs.

# Our choice: a daemon answers within a second.
mps_patience_s=30

# mps_installed: whether the programs are there that replicas with MPS need.
mps_installed() {
  local program
  for program in nvidia-cuda-mps-control nvidia-smi; do
    if ! command -v "$program" >/dev/null; then
      printf 'there is no %s on PATH, and replicas share a GPU by MPS: it comes with the NVIDIA driver; install it, or %s\n' \
        "$program" "take mps out of the pool's sharing and plan again" >&2
      return 1
    fi
  done
}

# gpu_uuid GPU: by number a daemon and its clients may mean different GPUs, since the daemon counts anew.
gpu_uuid() {
  local uuid
  uuid="$(nvidia-smi -i "$1" --query-gpu=uuid --format=csv,noheader)" || uuid=""
  if [[ "$uuid" != GPU-* ]]; then
    printf 'nvidia-smi does not name the UUID of GPU %s, without which there is no MPS on it; try: nvidia-smi -L\n' "$1" >&2
    return 1
  fi
  printf '%s\n' "$uuid"
}

# mps_pipes GPU: the folder of its daemon's pipes, beside the process numbers where that is short enough for the name of a socket (107
# bytes, with what the daemon adds).
mps_pipes() {
  local LC_ALL=C pipes="${run:?}/mps-gpu$1" hash
  if ((${#pipes} > 80)); then
    hash="$(printf '%s' "$pipes" | sha256sum)"
    pipes="/tmp/ullage-mps-$UID-${hash:0:16}"
  fi
  printf '%s\n' "$pipes"
}

# own_folder FOLDER: makes it for this user alone; no when it is somebody else's, as it may be in /tmp.
own_folder() {
  mkdir -m 700 -- "$1" 2>/dev/null || true
  if [[ ! -d "$1" || -L "$1" || ! -O "$1" ]]; then
    printf '%s must be a folder of this user for the pipes of MPS; move away what is there\n' "$1" >&2
    return 1
  fi
  chmod 700 -- "$1"
}

# mps_answers PIPES: whether a daemon is there. It answers with the process numbers of its servers, none at first.
mps_answers() {
  local answer
  [[ -e "$1/control" ]] || return 1
  answer="$(CUDA_MPS_PIPE_DIRECTORY="$1" timeout 10 nvidia-cuda-mps-control <<<get_server_list 2>/dev/null)" || return 1
  [[ "$answer" =~ ^[0-9[:space:]]*$ ]]
}

# await_mps GPU PIPES LOG
await_mps() {
  local ends=$((SECONDS + mps_patience_s))
  until mps_answers "$2"; do
    if ((SECONDS >= ends)); then
      printf 'the MPS daemon of GPU %s does not answer in %s, and the engine would run without MPS; look into %s\n' "$1" "$2" "$3" >&2
      return 1
    fi
    sleep 0.1
  done
}

# start_mps GPU UUID PIPES LOG_FOLDER: a percentage in the daemon's own environment would hold for all of its clients. It outlives the
# replica that starts it, so it gets a session of its own and no descriptor of a lock.
start_mps() {
  mkdir -p -- "$4"
  if ! env -u CUDA_MPS_ACTIVE_THREAD_PERCENTAGE \
    CUDA_VISIBLE_DEVICES="$2" CUDA_MPS_PIPE_DIRECTORY="$3" CUDA_MPS_LOG_DIRECTORY="$4" \
    setsid --wait nvidia-cuda-mps-control -d </dev/null >>"$4/start.log" 2>&1 6>&- 7>&-; then
    printf 'the MPS daemon of GPU %s does not start; look into %s\n' "$1" "$4" >&2
    return 1
  fi
}

# join_mps GPU: makes this process, and the engine it becomes, a client of the GPU's daemon, which is started where it does not run.
# Ends the script where there is no MPS.
join_mps() {
  local gpu="$1" uuid pipes
  mps_installed || exit 1
  uuid="$(gpu_uuid "$gpu")" || exit 1
  if [[ -n "${ULLAGE_MPS_PIPES:-}" ]]; then
    pipes="$ULLAGE_MPS_PIPES"
    await_mps "$gpu" "$pipes" "the log of its unit" || exit 1
  else
    mkdir -p -- "${run:?}"
    run="$(cd -- "$run" && pwd)"
    pipes="$(mps_pipes "$gpu")"
    own_folder "$pipes" || exit 1
    # Scripts that start at once start one daemon.
    exec 6>>"$run/mps-gpu$gpu.lock"
    flock 6
    # The engine keeps this one as long as it lives, so that nobody ends its daemon (end_unused_mps in processes.sh).
    exec 7>>"$run/mps-gpu$gpu.users"
    flock --shared 7
    printf '%s\n' "$pipes" >"$run/mps-gpu$gpu.users"
    if ! mps_answers "$pipes"; then
      start_mps "$gpu" "$uuid" "$pipes" "$run/mps-gpu$gpu-log" || exit 1
      await_mps "$gpu" "$pipes" "$run/mps-gpu$gpu-log" || exit 1
    fi
    exec 6>&-
  fi
  export CUDA_VISIBLE_DEVICES="$uuid" CUDA_MPS_PIPE_DIRECTORY="$pipes"
}
