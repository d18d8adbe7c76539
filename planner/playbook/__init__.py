"""The burst playbook: who is refused, in which order, so that a workload with a burst keeps its goals."""
