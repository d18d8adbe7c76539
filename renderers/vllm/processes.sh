# shellcheck shell=bash
# Finding and ending servers. Each server leads a session of its own; its pid file holds the session's number and the time
# its leader was started (in clock ticks since boot), so that a number used again by another program is not mistaken for it.

# The fields of a process behind its name: state ppid group session ..., empty when there is no such process.
process_fields() {
  local line=""
  { IFS= read -r line <"/proc/$1/stat"; } 2>/dev/null || true
  printf '%s\n' "${line##*) }"
}

# ended FIELDS...: whether a process ended, even if its parent has not taken note yet. One whose first thread ended (Z) while others
# are on their way out has not: they hold its ports and memory.
ended() {
  [[ "${1:-}" == [ZX] ]] && ((${18:-0} <= 1))
}

# When a process was started; nothing when it ended.
started_ticks() {
  local -a fields
  read -r -a fields <<<"$(process_fields "$1")"
  if ! ended "${fields[@]}"; then
    printf '%s\n' "${fields[19]:-}"
  fi
}

# The processes of a session that still run, one number per line.
session_members() {
  local place line
  local -a fields
  for place in /proc/[0-9]*/stat; do
    line=""
    { IFS= read -r line <"$place"; } 2>/dev/null || continue
    read -r -a fields <<<"${line##*) }"
    if [[ "${fields[3]:-}" == "$1" ]] && ! ended "${fields[@]}"; then
      line="${place#/proc/}"
      printf '%s\n' "${line%/stat}"
    fi
  done
}

# The leader of the server a pid file tells of; nothing when it is gone.
server_leader() {
  local session="" ticks=""
  [[ -f "$1" ]] || return 0
  read -r session ticks <"$1" || true
  if [[ "$session" =~ ^[0-9]+$ && -n "$ticks" && "$(started_ticks "$session")" == "$ticks" ]]; then
    printf '%s\n' "$session"
  fi
}

# The processes of the server a pid file tells of; with its leader dead the others may live on, and hold GPU memory.
server_members() {
  local session=""
  [[ -f "$1" ]] || return 0
  read -r session _ <"$1" || true
  [[ "$session" =~ ^[0-9]+$ ]] || return 0
  if [[ -n "$(server_leader "$1")" || -z "$(started_ticks "$session")" ]]; then
    session_members "$session"
  fi
}

# stop_server NAME PID_FILE GRACE_S: asks the leader to stop, after the grace period ends whatever is left of the session.
stop_server() {
  local name="$1" pid_file="$2" grace_s="$3" leader ends
  local -a members
  mapfile -t members < <(server_members "$pid_file")
  leader="$(server_leader "$pid_file")"
  if ((${#members[@]} > 0)); then
    if [[ -n "$leader" ]]; then
      members=("$leader")
    fi
    kill -TERM "${members[@]}" 2>/dev/null || true
  fi
  ends=$((SECONDS + grace_s))
  while ((${#members[@]} > 0)); do
    if ((SECONDS >= ends)); then
      printf '%s: still there after %s s, ending it\n' "$name" "$grace_s" >&2
      kill -KILL "${members[@]}" 2>/dev/null || true
    fi
    sleep 0.1
    mapfile -t members < <(server_members "$pid_file")
  done
  rm -f -- "$pid_file"
}

# end_unused_mps: ends the MPS daemons that no replica uses any more. Each has a file with the folder of its pipes, which the engines
# that use it keep locked (join_mps in mps.sh).
end_unused_mps() {
  local users pipes
  for users in "${run:?}"/mps-gpu*.users; do
    [[ -e "$users" ]] || continue
    (
      # Nobody comes meanwhile.
      exec 6>>"${users%.users}.lock"
      flock 6
      exec 7>>"$users"
      flock --nonblock 7 || exit 0
      pipes="$(<"$users")"
      if CUDA_MPS_PIPE_DIRECTORY="$pipes" timeout 60 nvidia-cuda-mps-control <<<quit >/dev/null 2>&1 6>&- 7>&-; then
        printf 'MPS daemon in %s: ended\n' "$pipes"
      else
        printf 'MPS daemon in %s: does not answer, nothing to end\n' "$pipes"
      fi
      rm -f -- "$users"
    )
  done
}
