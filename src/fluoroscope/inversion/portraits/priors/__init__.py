"""What keeps a portrait like a picture: smoothness, range, and what layers do on real pictures."""
