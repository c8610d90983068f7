"""Runs on disk: their rows, their directory, reading a stranger's, and two beside each other."""
