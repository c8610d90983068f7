"""The one loop: what is given to it, what goes along with it, and where it stands on disk."""
