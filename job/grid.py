"""track: a table of texts that fits the terminal."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_grid(corner: str, names: list[str], heads: list[str], cells: list[list[Text]]) -> None:
    """Print a table with a name before each row; columns that do not fit follow in further ones."""
    console = Console()
    for part in fitting(names, heads, cells, console.width):
        table = Table(corner)
        for index in part:
            table.add_column(Text(heads[index]), justify="right")
        for name, row in zip(names, cells, strict=True):
            table.add_row(Text(name), *(row[index] for index in part))
        console.print(table)


def fitting(
    names: list[str], heads: list[str], cells: list[list[Text]], width: int
) -> Iterator[list[int]]:
    """Yield the columns of each table that fits the width: one column at least."""
    space = width - max(cell_width(Text(name)) for name in names) - 4
    part: list[int] = []
    left = space
    for index, head in enumerate(heads):
        needed = max(cell_width(text) for text in (Text(head), *(row[index] for row in cells))) + 3
        if part and needed > left:
            yield part
            part, left = [], space
        part.append(index)
        left -= needed
    yield part


def cell_width(text: Text) -> int:
    """Return how many characters of the terminal the longest line takes."""
    return max(line.cell_len for line in text.split("\n", allow_blank=True))
