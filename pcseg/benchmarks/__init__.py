"""Benchmarks that time competing implementations side by side in one process."""
