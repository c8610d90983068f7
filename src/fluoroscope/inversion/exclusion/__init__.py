"""Out-of-distribution detection by training, inverting and excluding (Suhail and Sethi 2025)."""
