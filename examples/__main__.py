"""Runs the notebooks anew and keeps what they show, without when and where it was."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

if __name__ == "__main__":
    for path in sorted(Path(__file__).parent.glob("*.ipynb")):
        print(path.name, flush=True)
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(notebook, timeout=600, record_timing=False).execute()
        notebook.metadata["language_info"] = {"name": "python"}
        nbformat.write(notebook, path)
