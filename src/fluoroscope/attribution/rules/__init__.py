"""Methods that change how a network is gone back through, applied where operations happen."""
