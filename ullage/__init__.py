"""Ullage plans which model servers share which GPU, and runs the plan."""
