"""Moving the picture rather than its colours."""
