"""The report: one self-contained page on what a network sees, how it fails, and what to do."""
