"""Speed as ratios measured in one run: ``python -m benchmarks.speed`` writes docs/benchmarks.md."""
