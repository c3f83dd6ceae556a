"""The picture of how the tasks' gradients agree."""

import json
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure

from job.conflicts import draw, draw_or_say, main, mean_cosines, read
from job.record import PICTURE


def write(run_dir, records):
    lines = [json.dumps({"step": i, "time": 0.0, **r}) for i, r in enumerate(records, 1)]
    (run_dir / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))


def record(names, rng, *, weights=True):
    """Return what a step records of random gradients."""
    rows = rng.standard_normal((len(names), 3))
    norm = np.linalg.norm(rows, axis=1)
    cosine = rows @ rows.T / np.outer(norm, norm)
    pairs = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
    found = {f"conflict/norm/{name}": norm[i] for i, name in enumerate(names)}
    found |= {f"conflict/cosine/{names[i]}/{names[j]}": cosine[i, j] for i, j in pairs}
    found |= {f"balance/weight/{name}": 1 / len(names) for name in names if weights}
    if pairs:
        found["conflict/share"] = float(np.mean([cosine[pair] < 0 for pair in pairs]))
    return found


@pytest.fixture
def drawn(monkeypatch):
    """The last figure that was written."""
    figures = []
    savefig = Figure.savefig

    def remember(figure, *args, **options):
        figures.append(figure)
        return savefig(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", remember)
    return figures


@pytest.mark.parametrize("number", [1, 2, 3, 8, 16])
def test_any_number_of_tasks_is_drawn_without_overlapping_names(number, tmp_path, drawn):
    rng, names = np.random.default_rng(0), [f"the_{i}th_task_of_all" for i in range(number)]
    write(tmp_path, [record(names, rng) for _ in range(5)])
    assert draw(tmp_path) == tmp_path / PICTURE
    assert (tmp_path / PICTURE).read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob(".*"))
    heat = drawn[-1].axes[0]
    boxes = [label.get_window_extent() for label in heat.get_yticklabels()]
    assert len(boxes) == number
    assert not any(a.overlaps(b) for a, b in pairwise(boxes))
    cells = [text.get_window_extent() for text in heat.texts]
    width = heat.get_window_extent().width / number
    assert all(cell.width < width for cell in cells)


def test_cells_hold_the_means_over_the_records_of_the_pair(tmp_path, drawn):
    norms = {"conflict/norm/a_b": 1.0, "conflict/norm/_c": 2.0, "conflict/norm/d": 3.0}
    pair = "conflict/cosine/a_b/_c"
    write(tmp_path, [{**norms, pair: -0.5}, {"train/d/loss": 1.0}, {**norms, pair: 0.1}])
    names, matrix = mean_cosines(read(tmp_path / "metrics.jsonl"))
    assert names == ["a_b", "_c", "d"]
    mean, none = pytest.approx(-0.2), pytest.approx(np.nan, nan_ok=True)
    assert matrix.tolist() == [[1, mean, none], [mean, 1, none], [none, none, 1]]
    draw(tmp_path)
    heat = drawn[-1].axes[0]
    texts = {text.get_position(): text.get_text() for text in heat.texts}
    assert texts == {(0, 0): "1", (1, 1): "1", (2, 2): "1", (0, 1): "-.20", (1, 0): "-.20"}
    assert heat.images[0].get_clim() == (-1, 1)


def test_every_name_is_in_the_legend_even_with_an_underscore_in_front(tmp_path, drawn):
    names = ["_hidden", "two_words", "a" * 40]
    write(tmp_path, [record(names, np.random.default_rng(0))])
    draw(tmp_path)
    (legend,) = drawn[-1].legends
    assert [text.get_text() for text in legend.texts] == [*names[:2], "a" * 17 + "…"]


def test_there_are_curves_of_weights_where_the_method_has_some(tmp_path, drawn):
    for weights, number in ((True, 3), (False, 2)):
        rng = np.random.default_rng(0)
        write(tmp_path, [record(["a", "b"], rng, weights=weights) for _ in range(3)])
        draw(tmp_path)
        titles = [axes.get_title(loc="left") for axes in drawn[-1].axes]
        panels = [title for title in titles if title]
        assert len(panels) == number
        assert (panels[0] == "weight in the step's loss") == weights


def test_a_long_training_is_drawn_as_means_of_neighbouring_steps(tmp_path, drawn):
    write(tmp_path, [{"conflict/norm/a": float(i % 2) + 1} for i in range(4000)])
    draw(tmp_path)
    (line,) = drawn[-1].axes[-1].lines
    assert len(line.get_xdata()) == 100
    assert line.get_ydata() == pytest.approx(1.5)


def test_numbers_that_are_missing_and_lines_half_written_are_left_out(tmp_path):
    write(tmp_path, [{"conflict/norm/a": None}, {"conflict/norm/a": 2.0}])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "time": 1, "conflict/norm/a": 5')
    assert read(tmp_path / "metrics.jsonl") == {"conflict/norm/a": [(2, 2.0)]}


def test_nothing_is_drawn_where_nothing_is_recorded(tmp_path, capsys):
    write(tmp_path, [{"train/a/loss": 1.0, "balance/weight/a": 1.0}])
    assert draw(tmp_path) is None
    assert main([str(tmp_path)]) == 0
    assert "nothing recorded" in capsys.readouterr().out
    assert not (tmp_path / PICTURE).exists()


def test_the_command_draws_it_again_and_refuses_what_is_no_run(tmp_path, capsys):
    assert main([str(tmp_path)]) == 64
    assert "not a run directory" in capsys.readouterr().err
    write(tmp_path, [record(["a", "b"], np.random.default_rng(0))])
    assert main([str(tmp_path)]) == 0
    assert (tmp_path / PICTURE).exists()


def test_a_picture_that_cannot_be_drawn_is_a_warning(tmp_path):
    said = []
    write(tmp_path, [{"conflict/norm/a": 1.0}])
    (tmp_path / PICTURE).mkdir()
    draw_or_say(tmp_path, said.append)
    assert len(said) == 1
    assert said[0].startswith("warning: ")
    assert PICTURE in said[0]
