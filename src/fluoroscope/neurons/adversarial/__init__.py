"""Data sets of adversarial pictures, each led to a drawn class."""
