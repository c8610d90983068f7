"""The kinds of jobs, one file each; ``registry.py`` has the list."""
