# shellcheck shell=bash
# Which replicas start, restart or stop, and in which order. Needs processes.sh, and the variables here, run and grace_s.
# FILE.record beside FILE.pid says what a replica was started with, each field ended by a NUL byte: hash of its arguments, served
# model (as a file name), devices, MiB, URL, served model. It stays when a replica ends unasked: the replica is then down.

# 4.4 is the first with "mapfile -d", and the first that takes an empty array under "set -u".
if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  printf 'start.sh needs bash 4.4 or newer, this is %s.%s; install a newer bash and run it with that: bash start.sh\n' \
    "${BASH_VERSINFO[0]}" "${BASH_VERSINFO[1]}" >&2
  exit 1
fi

: "${here:?}" "${run:?}" "${grace_s:?}"
names=() files=() urls=() served=() keys=() devices=() mibs=() limits_s=() hashes=()
record=() groups=() deferred=() needed=() needed_by=()
# 1 when something failed or had to wait for good.
failed=0
# 1 in the second round, in which what had to wait in the first has its last chance.
final=0

# add_replica NAME FILE URL SERVED KEY DEVICES MIB LIMIT_S
add_replica() {
  names+=("$1") files+=("$2") urls+=("$3") served+=("$4") keys+=("$5") devices+=("$6") mibs+=("$7") limits_s+=("$8")
  hashes+=("$(sed -n '/^export ULLAGE_ARGUMENTS_SHA256=/{s/.*=//p;q;}' "$here/replicas/$2.sh")")
}

# needs PATH...: local files of the replica added last, from the folder of the fleet file.
needs() {
  local path
  for path in "$@"; do
    needed+=("$path") needed_by+=("$((${#names[@]} - 1))")
  done
}

# has_files INDEX: whether the local files of a replica are there: nothing is stopped for one that could not start.
has_files() {
  local at status=0
  for at in "${!needed[@]}"; do
    if ((needed_by[at] == $1)) && [[ ! -e "$ULLAGE_FLEET_FOLDER/${needed[at]}" ]]; then
      printf '%s: there is no %s in %s: set ULLAGE_FLEET_FOLDER to the folder of the fleet file\n' \
        "${names[$1]}" "${needed[at]}" "$ULLAGE_FLEET_FOLDER" >&2
      status=1
    fi
  done
  return "$status"
}

read_record() {
  record=()
  mapfile -d '' -t record 2>/dev/null <"$run/$1.record" || true
}

# write_whole FILE FORMAT WORDS...: at once or not at all, since other groups read it.
write_whole() {
  local place="$1" format="$2"
  shift 2
  # shellcheck disable=SC2059
  printf "$format" "$@" >"$place.new"
  mv -f -- "$place.new" "$place"
}

# The number of the rendered replica with this file name; nothing when it is no longer rendered.
index_of() {
  local i
  for i in "${!files[@]}"; do
    if [[ "${files[i]}" == "$1" ]]; then
      printf '%s\n' "$i"
    fi
  done
}

unchanged() {
  read_record "${files[$1]}"
  [[ -n "${hashes[$1]}" && "${record[0]:-}" == "${hashes[$1]}" && -n "$(server_leader "$run/${files[$1]}.pid")" ]]
}

# lock_served --shared|--exclusive KEY: starts of one served model share it, whoever stops a replica of it has it alone.
lock_served() {
  exec 8>"$run/served-$2.lock"
  flock "$1" 8
}

unlock_served() {
  exec 8>&-
}

# is_ready URL SERVED LIMIT_S PID
is_ready() {
  python3 "$here/ready.py" --url "$1" --model "$2" --limit-s "$3" --pid "$4" 8>&- 9>&-
}

# Another replica of the same served model that was started once and does not answer now.
sibling_down() {
  local i pid
  for i in "${!files[@]}"; do
    if ((i == $1)) || [[ "${keys[i]}" != "${keys[$1]}" ]]; then
      continue
    fi
    read_record "${files[i]}"
    pid="$(server_leader "$run/${files[i]}.pid")"
    if [[ -z "$pid" ]]; then
      if ((${#record[@]} > 0)); then
        printf '%s\n' "${names[i]}"
        return 0
      fi
    elif ! is_ready "${record[4]:-${urls[i]}}" "${record[5]:-${served[i]}}" 0 "$pid" 2>/dev/null; then
      printf '%s\n' "${names[i]}"
      return 0
    fi
  done
}

# defer NAME REASON: left as it is; status 3 asks for a second round.
defer() {
  if ((final)); then
    printf '%s: not changed: %s\n' "$1" "$2" >&2
  fi
  return 3
}

# in_the_way INDEX FILE NEEDS_GPU: whether the server of FILE holds the port that the replica needs, or memory of its GPUs where
# NEEDS_GPU is 1, and will not hold it in the end.
in_the_way() {
  local other place shares_gpu=0
  other="$(index_of "$2")"
  if [[ -n "$other" ]]; then
    if unchanged "$other" || [[ -z "$(server_leader "$run/$2.pid")" ]]; then
      return 1
    fi
  fi
  read_record "$2"
  # Without a record nobody knows what it holds.
  if ((${#record[@]} == 0)) || [[ "${record[4]##*:}" == "${urls[$1]##*:}" ]]; then
    return 0
  fi
  for place in ${record[2]}; do
    if (($3)) && [[ " ${devices[$1]//@*/} " == *" ${place%@*} "* ]]; then
      shares_gpu=1
    fi
  done
  ((shares_gpu)) && [[ -z "$other" || "${record[2]}" != "${devices[other]}" ]]
}

# Stops who is in the way of a start: replicas that are no longer rendered, and those that move to another GPU or port.
clear_way() {
  local i="$1" pid_file file other down key needs_gpu=1
  # One that shrinks, or keeps its size, where it is finds room in what it gives back.
  if [[ "$(rank "$i")" == 1 ]]; then
    needs_gpu=0
  fi
  for pid_file in "$run"/*.pid; do
    file="$(basename -- "$pid_file" .pid)"
    if [[ "$file" == "${files[i]}" ]] || ! in_the_way "$i" "$file" "$needs_gpu"; then
      continue
    fi
    other="$(index_of "$file")"
    key="${record[1]:-}"
    if [[ -n "$other" && "${keys[other]}" == "${keys[i]}" && -n "$(server_leader "$run/${files[i]}.pid")" ]]; then
      defer "${names[i]}" "its GPU or port is held by $file of the same served model, both would be down at once; stop one of them"
      return
    fi
    lock_served --exclusive "$key"
    # The group of the other may have moved it meanwhile.
    if in_the_way "$i" "$file" "$needs_gpu"; then
      down=""
      if [[ -n "$other" ]]; then
        down="$(sibling_down "$other")"
      fi
      if [[ -n "$down" ]]; then
        unlock_served
        defer "${names[i]}" "its GPU or port is held by $file, which must run while $down of the same served model is not ready"
        return
      fi
      stop_server "$file" "$pid_file" "$grace_s"
      if [[ -z "$other" ]]; then
        rm -f -- "$run/$file.record"
      fi
      printf '%s: stopped, %s needs its place\n' "$file" "${names[i]}"
    fi
    unlock_served
  done
}

# launch INDEX: starts the server and waits until it is ready; ends it when it does not become so.
launch() {
  local i="$1" name="${names[$1]}" file="${files[$1]}" pid
  stop_server "$name" "$run/$file.pid" "$grace_s"
  write_whole "$run/$file.record" '%s\0' "${hashes[i]}" "${keys[i]}" "${devices[i]}" "${mibs[i]}" "${urls[i]}" "${served[i]}"
  # No descriptor of a lock goes to the server, or the lock would last as long as the server.
  setsid bash "$here/replicas/$file.sh" </dev/null >>"$run/$file.log" 2>&1 8>&- 9>&- &
  pid="$!"
  write_whole "$run/$file.pid" '%s %s\n' "$pid" "$(started_ticks "$pid")"
  printf '%s: started, process %s, log %s\n' "$name" "$pid" "$run/$file.log"
  if ! is_ready "${urls[i]}" "${served[i]}" "${limits_s[i]}" "$pid"; then
    printf '%s: not ready; the end of its log:\n' "$name" >&2
    tail -n 20 -- "$run/$file.log" >&2 || true
    stop_server "$name" "$run/$file.pid" "$grace_s"
    return 1
  fi
  printf '%s: ready\n' "$name"
}

# leave INDEX: a replica that runs as rendered. Only waited for, since one that still starts spoils the next start on its GPU.
leave() {
  local i="$1"
  if ((final == 0)); then
    printf '%s: unchanged\n' "${names[i]}"
  fi
  if ! is_ready "${urls[i]}" "${served[i]}" "${limits_s[i]}" "$(server_leader "$run/${files[i]}.pid")"; then
    printf '%s: runs unchanged but does not answer; left alone, look into %s\n' "${names[i]}" "$run/${files[i]}.log" >&2
    return 1
  fi
}

# restart INDEX: only while all others of its served model answer.
restart() {
  local i="$1" down status=0
  lock_served --exclusive "${keys[i]}"
  down="$(sibling_down "$i")"
  if [[ -n "$down" ]]; then
    defer "${names[i]}" "$down of the same served model is not ready; it keeps running with its earlier arguments" || status="$?"
  else
    printf '%s: arguments changed, restarting\n' "${names[i]}"
    launch "$i" || status="$?"
  fi
  unlock_served
  return "$status"
}

# bring INDEX: status 0 runs as rendered, 1 failed, 3 deferred.
bring() {
  local i="$1" status=0
  if unchanged "$i"; then
    leave "$i"
    return
  fi
  has_files "$i" || return
  clear_way "$i" || return
  if [[ -n "$(server_leader "$run/${files[i]}.pid")" ]]; then
    restart "$i"
    return
  fi
  lock_served --shared "${keys[i]}"
  launch "$i" || status="$?"
  unlock_served
  return "$status"
}

# Which of the replicas comes when: those that run as rendered, those that shrink or keep their size, those that grow, those that do
# not run. So memory is given back before it is needed.
rank() {
  if unchanged "$1"; then
    printf '0\n'
  elif [[ -z "$(server_leader "$run/${files[$1]}.pid")" ]]; then
    printf '3\n'
  elif ((${record[3]:-0} >= ${mibs[$1]})) && [[ "${record[2]:-}" == "${devices[$1]}" ]]; then
    printf '1\n'
  else
    printf '2\n'
  fi
}

# start_group INDEX...: replicas that share GPUs, one after another. Status as of bring.
start_group() {
  local i status result=0
  local -a order
  mapfile -t order < <(for i in "$@"; do printf '%s %s\n' "$(rank "$i")" "$i"; done | sort -n -k 1,1 -k 2,2)
  for i in "${order[@]#* }"; do
    status=0
    bring "$i" || status="$?"
    if ((status == 3)); then
      result=3
    elif ((status != 0)); then
      return 1
    fi
  done
  return "$result"
}

# stop_leavers: replicas that are no longer rendered, all at once.
stop_leavers() {
  local pid_file file
  for pid_file in "$run"/*.pid; do
    file="$(basename -- "$pid_file" .pid)"
    if [[ -z "$(index_of "$file")" ]]; then
      printf '%s: no longer rendered, stopping\n' "$file"
      { stop_server "$file" "$pid_file" "$grace_s" && rm -f -- "$run/$file.record"; } &
    fi
  done
  wait
}

# run_groups GROUP...: all at once, each a list of replica numbers. Leaves those that had to wait in deferred.
run_groups() {
  local group result i
  local -a numbers
  groups=() deferred=()
  for group in "$@"; do
    read -r -a numbers <<<"$group"
    start_group "${numbers[@]}" &
    groups+=("$!")
  done
  for i in "${!groups[@]}"; do
    result=0
    wait "${groups[i]}" || result="$?"
    if ((result == 3)); then
      deferred+=("${@:i+1:1}")
    elif ((result != 0)); then
      failed=1
    fi
  done
}

# roll GROUP...: everything as rendered, or status 1; a failure stops nothing that is healthy.
roll() {
  trap 'kill "${groups[@]}" 2>/dev/null || true; exit 1' INT TERM
  run_groups "$@"
  # What waited for a replica of its served model has its turn once the others are done.
  if ((${#deferred[@]} > 0)); then
    final=1
    run_groups "${deferred[@]}"
    if ((${#deferred[@]} > 0)); then
      failed=1
    fi
  fi
  if ((failed)); then
    printf 'not every replica runs as rendered; what is healthy keeps running, also what is no longer rendered; stop.sh ends all\n' >&2
    return 1
  fi
  stop_leavers
  end_unused_mps
}
