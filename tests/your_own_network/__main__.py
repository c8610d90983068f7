"""``python -m tests.your_own_network``: what comes of each pair, into docs/your-own-network.md.

It reads every data set with every network through ``evaluate``, and writes the table of the
outcomes with what was said in the first place each time.
"""

import tempfile
from pathlib import Path

import fluoroscope as fs
from tests.your_own_network.calls import Outcome, ask
from tests.your_own_network.data_sets import DATA_SETS
from tests.your_own_network.networks import NETWORKS, network

PAGE = Path("docs/your-own-network.md")
SIGNS = {"right": "right", "noted": "note", "refused": "refused"}


def table(top: Path) -> str:
    """The outcomes as a table, and below it the words of each kind."""
    found: dict[tuple[str, str], Outcome] = {}
    for data, put in DATA_SETS.items():
        folder = top / data
        folder.mkdir()
        made = put(folder)
        for name in NETWORKS:
            given = fs.load_images(made, channels=1) if isinstance(made, Path) else made
            found[name, data] = ask("evaluate", network(name), given)
    lines = ["| network | " + " | ".join(DATA_SETS) + " |", "|---|" + "---|" * len(DATA_SETS)]
    for name in NETWORKS:
        row = (SIGNS[found[name, data].kind] for data in DATA_SETS)
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    plain = next(iter(DATA_SETS))
    lines += [
        "",
        f"What is said of each network on {plain}:",
        "",
        "| network | words |",
        "|---|---|",
    ]
    lines += [f"| {name} | {_cell(found[name, plain])} |" for name in NETWORKS]
    first = next(iter(NETWORKS))
    lines += ["", f"What is said of each data set, to a network of {first}:", ""]
    lines += ["| data | words |", "|---|---|"]
    lines += [f"| {data} | {_cell(found[first, data])} |" for data in DATA_SETS]
    return "\n".join(lines).replace(f"{top}/", "")


def _cell(outcome: Outcome) -> str:
    return outcome.words.replace(" | ", "; ").replace("|", "\\|") or f"(right: {outcome.accuracy})"


def main() -> None:
    """Write the page's part between its marks."""
    begin, end = "<!-- table -->", "<!-- /table -->"
    page = PAGE.read_text("utf-8")
    head, _, rest = page.partition(begin)
    _, _, tail = rest.partition(end)
    with tempfile.TemporaryDirectory() as top:
        PAGE.write_text(f"{head}{begin}\n{table(Path(top))}\n{end}{tail}", "utf-8")


if __name__ == "__main__":
    main()
