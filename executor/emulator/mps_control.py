"""`python -m executor.emulator.mps_control -f`: stands in for NVIDIA's MPS control daemon, which lets clients in as long as it lives."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Open the door in CUDA_MPS_PIPE_DIRECTORY and close it on a signal; returns the exit code."""
    folder = os.environ.get("CUDA_MPS_PIPE_DIRECTORY")
    if arguments != ["-f"] or not folder:
        sys.stderr.write("usage: CUDA_MPS_PIPE_DIRECTORY=FOLDER python -m executor.emulator.mps_control -f\n")
        return 2
    ends = {signal.SIGTERM, signal.SIGINT}
    # before the door is open: whoever saw it may end us at once
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    control = Path(folder) / "control"
    try:
        control.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        sys.stderr.write("An instance of this daemon is already running\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"Cannot open {control}: {error.strerror}\n")
        return 1
    signal.sigwait(ends)
    control.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
