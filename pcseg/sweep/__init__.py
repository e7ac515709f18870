"""Sweeps: many runs of one config, and a table and a chart of their results."""
