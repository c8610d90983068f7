"""The sources' experiments, run again: ``python -m reproductions`` writes docs/reproductions.md."""
