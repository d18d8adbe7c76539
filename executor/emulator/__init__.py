"""An engine emulator: vLLM's command line and HTTP surface over the step core, in real time, on emulated GPUs."""
