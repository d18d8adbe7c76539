#!/usr/bin/env bash
#SBATCH --job-name=ullage-llama-8b-0
#SBATCH --partition=gpu
#SBATCH --nodes=1
#SBATCH --nodelist=h100-0
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --gres=gpu:1
#SBATCH --time=UNLIMITED
#SBATCH --signal=B:TERM@60
#SBATCH --open-mode=append
#SBATCH --output=/var/log/ullage/%x-%j.log
#SBATCH --requeue
#SBATCH --comment=ullage:9c51ed54e3d143884c53afe1e83a88ebe1eeadc3e6a8a9a6632ad044189df962
# Replica llama-8b-0 of llama-8b: one vLLM server, on the GPUs that Slurm gives it.
# Credentials (HF_TOKEN, VLLM_API_KEY) come from the environment of whoever submits it.
set -uo pipefail

IFS= read -r -d '' engine_script <<'END_2dbc3ca7365937923b385eaceccd5dee91b0e352423b212022d6e000bd5b0ff9' || true
#!/usr/bin/env bash
# Replica llama-8b-0 on node h100-0 (exclusive): one vLLM server, in the foreground.
# Credentials (HF_TOKEN, VLLM_API_KEY) come from the environment of whoever starts it.
set -euo pipefail
export CUDA_DEVICE_ORDER=PCI_BUS_ID
export VLLM_ENGINE_READY_TIMEOUT_S=212
export VLLM_NO_USAGE_STATS=1
exec \
  vllm serve meta-llama/Meta-Llama-3.1-8B \
  --served-model-name llama-8b \
  --host 127.0.0.1 \
  --port 8101 \
  --dtype bfloat16 \
  --tensor-parallel-size 1 \
  --max-model-len 8192 \
  --max-num-seqs 64 \
  --max-num-batched-tokens 2048 \
  --kv-cache-dtype auto \
  --kv-cache-memory-bytes 8589934592 \
  --gpu-memory-utilization 0.34 \
  --stream-interval 1 \
  --shutdown-timeout 30
END_2dbc3ca7365937923b385eaceccd5dee91b0e352423b212022d6e000bd5b0ff9

IFS= read -r -d '' ready_script <<'END_OF_READY' || true
(ready.py)
END_OF_READY

engine="" stopping=0 ender=""

# Slurm asks: the engine finishes what it answers; whatever of it is left after 60 s is killed.
stop() {
  stopping=1
  if [[ -n "$engine" && -z "$ender" ]]; then
    kill -TERM "$engine" 2>/dev/null
    # shellcheck disable=SC2016
    setsid bash -c 'sleep "$1"; kill -KILL -- "-$2" 2>/dev/null' ender 60 "$engine" &
    ender=$!
  fi
}
trap stop TERM INT

setsid bash -c "$engine_script" &
engine=$!
# The signal may have come before there was an engine.
if ((stopping)); then
  stop
fi

# Ends a start that takes too long.
watch_start() {
  if python3 -c "$ready_script" --url http://127.0.0.1:8101 --model llama-8b --limit-s 212 --pid "$engine"; then
    printf '%s: ready\n' llama-8b-0
  elif kill -TERM "$engine" 2>/dev/null; then
    printf '%s: not ready, ended\n' llama-8b-0 >&2
  fi
}
watch_start &
watcher=$!

status=0
while true; do
  status=0
  wait "$engine" || status=$?
  # A signal ends a wait before the engine ends.
  kill -0 "$engine" 2>/dev/null || break
done
# Then every process of it ends.
kill -KILL -- "-$engine" 2>/dev/null
if [[ -n "$ender" ]]; then
  kill -KILL -- "-$ender" 2>/dev/null
fi
wait "$watcher"
if ((stopping)); then
  exit 0
fi
printf '%s: the engine ended with status %s\n' llama-8b-0 "$status" >&2
# A server that ends although nobody asked has failed.
exit $((status ? status : 1))
