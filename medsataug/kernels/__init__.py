"""Compiled functions on plain arrays, and nothing else."""
