"""Few pixels, each as far as it takes."""
