"""Who may ask: the door before all others, its token, and by what a client is known."""
