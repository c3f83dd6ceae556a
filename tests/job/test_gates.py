"""How much each task hears of what: sums over processes, and a table."""

import pytest
import torch
from torch import nn

from job.gates import gate_shares, gate_table, reset_gates
from mtl.collective import Alone
from mtl.models.sharing._gate import Gate


def test_means_are_over_all_seeds_and_begin_afresh():
    model = nn.ModuleList([Gate("a", ["x", "y"]), Gate("b", ["x"])]).eval()
    model[0].record(torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
    model[0].record(torch.tensor([[0.0, 1.0]]))
    model[1].record(torch.ones(4, 1))
    shares = gate_shares(model, Alone())
    assert shares == pytest.approx({"gate/a/x": 0.5, "gate/a/y": 0.5, "gate/b/x": 1.0})
    reset_gates(model)
    assert set(gate_shares(model, Alone()).values()) == {0.0}


def test_without_gates_there_is_nothing_to_show():
    assert gate_shares(nn.Linear(1, 1), Alone()) == {}
    assert gate_table({"val/a/loss": 1.0}) is None
    table = gate_table({"gate/a/x": 0.25, "gate/b/y": 0.75})
    assert [column.header for column in table.columns] == ["", "a", "b"]
    assert table.row_count == 2
