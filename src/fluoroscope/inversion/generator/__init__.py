"""Network inversion by a conditioned generator (Suhail and Sethi 2024), and what it is good for."""
