"""Drivers of what the benchmarks compare with; each runs in an environment of its own, by its own interpreter, and imports nothing of ours."""
