"""Furnished homes and offices of real furniture models, scanned by simulated sensors."""
