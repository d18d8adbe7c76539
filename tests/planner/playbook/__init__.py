"""Tests of the burst playbook."""
