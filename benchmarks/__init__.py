"""Speed as ratios measured in one run: ``python -m benchmarks`` writes docs/benchmarks.md."""
