"""Stands in for NVIDIA's MPS on PATH: a control program whose daemon is a process that does nothing, and nvidia-smi for UUIDs.

FAKE_DIR/mps gets a line per event; FAKE_DIR/mps-broken makes a daemon fail at once, FAKE_DIR/mps-mute makes one that never answers,
FAKE_DIR/mps-odd makes nvidia-smi say something else.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from renderers.vllm.ready import alive

CONTROL = """#!/bin/sh
pipes="$CUDA_MPS_PIPE_DIRECTORY"
if [ $# -gt 0 ]; then
  echo "start $1 $pipes $CUDA_VISIBLE_DEVICES ${CUDA_MPS_ACTIVE_THREAD_PERCENTAGE:-all}" >>"$FAKE_DIR/mps"
  if [ -e "$FAKE_DIR/mps-broken" ]; then
    exit 1
  fi
  sleep 600 </dev/null >/dev/null 2>&1 &
  echo "$!" >>"$FAKE_DIR/mps-pids"
  echo "$!" >"$pipes/pid"
  if [ ! -e "$FAKE_DIR/mps-mute" ]; then
    : >"$pipes/control"
  fi
  exit 0
fi
read -r words
if [ ! -e "$pipes/control" ]; then
  echo "Cannot find MPS control daemon process"
  exit 1
fi
if [ "$words" = quit ]; then
  echo "quit $pipes" >>"$FAKE_DIR/mps"
  kill "$(cat "$pipes/pid")"
  rm "$pipes/control"
fi
"""

SMI = """#!/bin/sh
if [ -e "$FAKE_DIR/mps-odd" ]; then
  echo "No devices were found"
else
  echo "GPU-0000000$2"
fi
"""


class FakeMps:
    """The stand-ins in FOLDER/bin, and what they wrote down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in (("nvidia-cuda-mps-control", CONTROL), ("nvidia-smi", SMI)):
            program = folder / "bin" / name
            program.write_text(text)
            program.chmod(0o755)

    def events(self) -> list[str]:
        """How daemons were started, with pipes, GPU and percentage, and which were told to end."""
        place = self.folder / "mps"
        return place.read_text().splitlines() if place.exists() else []

    def daemons(self) -> list[int]:
        """Process numbers of the daemons that live."""
        place = self.folder / "mps-pids"
        return [pid for pid in map(int, place.read_text().split()) if alive(pid)] if place.exists() else []

    def end(self) -> None:
        for pid in self.daemons():
            os.kill(pid, signal.SIGKILL)
