"""What a network believes a class looks like: portraits, generators, and what they are worth."""
