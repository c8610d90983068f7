"""The doors of the API, a file for each thing that they speak of; ``app.py`` opens them."""
