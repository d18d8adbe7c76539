"""From an answer of the engines to a Plan: names, replicas, GPUs, forecasts, rules and proof."""
