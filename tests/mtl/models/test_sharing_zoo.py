"""Ways of sharing are their papers' equations, over graphs of several types."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from mtl.models.embeddings import Embeddings
from mtl.models.encoders import Encoder
from mtl.models.neighborhood import hops
from mtl.models.projection import Projection
from mtl.models.sharing import Parts, Sharing
from mtl.models.sharing._gate import Gate
from mtl.models.sharing.dselect_k import DSelectK
from mtl.models.sharing.ple import SHARED
from mtl.models.trunk import Trunk, layer_types

DIM = 8
EXACT = {"atol": 1e-12, "rtol": 0}
SEEDS = {"user": [3, 0, 17], "item": [5]}
ALL = {"user": range(30), "item": range(20)}
TASKS = {"spend": ("user",), "buys": ("user", "item"), "price": ("item",)}
GATED = ["cgc", "cross_stitch", "dselect_k", "mmoe", "mtan", "ple"]
ZOO = [kind for kind in Sharing.types() if kind != "mimo"]  # whose views are one tensor


def parts_of(
    graph: HeteroData, tasks: Mapping[str, tuple[str, ...]], encoder: str, num_layers: int
) -> Parts:
    options = Encoder.read({"type": encoder, "num_layers": num_layers, "dropout": 0.0})
    seed_types = {kind for kinds in tasks.values() for kind in kinds}
    edge_types = dict.fromkeys(graph.edge_types, 0)
    input_types = layer_types(options, seed_types, edge_types)[0]
    widths = {kind: graph[kind].num_features for kind in input_types}
    return Parts(
        tasks,
        DIM,
        lambda views: Projection(widths, DIM, 0.0, views),
        lambda: Trunk(options, DIM, seed_types, edge_types),
        lambda some: parts_of(graph, some, encoder, num_layers),
    )


def model_of(
    graph: HeteroData,
    sharing: str,
    encoder: str = "sage",
    num_layers: int = 2,
    tasks: Mapping[str, tuple[str, ...]] = TASKS,
    **options: int,
) -> nn.Module:
    torch.manual_seed(0)
    parts = parts_of(graph, tasks, encoder, num_layers)
    return Sharing.read({"type": sharing, **options}).build(parts).double()


def gates_of(model: nn.Module) -> list[Gate]:
    return [module for module in model.modules() if isinstance(module, Gate)]


def assert_equal(
    found: Mapping[str, Mapping[str, Tensor]], expected: Mapping[str, Mapping[str, Tensor]]
) -> None:
    assert {task: set(kinds) for task, kinds in TASKS.items()} == {t: set(found[t]) for t in found}
    for task, kinds in TASKS.items():
        for kind in kinds:
            torch.testing.assert_close(found[task][kind], expected[task][kind], **EXACT)


def experts_of(experts: nn.Module, x: Tensor) -> Tensor:
    """Return relu(W_i x + b_i) of each expert, [seeds, experts, dim]."""
    weight, bias = experts.linear.weight.view(-1, DIM, DIM), experts.linear.bias.view(-1, DIM)
    return torch.stack([(x @ w.T + b).relu() for w, b in zip(weight, bias, strict=True)], 1)


@pytest.fixture
def batch(hetero_neighborhood):
    return hetero_neighborhood(SEEDS, [3, 3])


@pytest.mark.parametrize("sharing", ZOO)
@pytest.mark.parametrize("encoder", ["sage", "mlp"])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_the_gradient_of_tasks_on_several_types_reaches_every_parameter(
    sharing, encoder, num_layers, hetero_graph, hetero_neighborhood
):
    model = model_of(hetero_graph, sharing, encoder, num_layers)
    out = model(hetero_neighborhood(ALL, [-1] * num_layers))
    squares = [h.square().sum() for kinds in out.values() for h in kinds.values()]
    torch.stack(squares).sum().backward()
    unreached = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not unreached


@pytest.mark.parametrize("sharing", Sharing.types())
def test_there_are_no_buffers_that_ddp_would_broadcast(sharing, hetero_graph):
    assert not list(model_of(hetero_graph, sharing).buffers())


@pytest.mark.parametrize("sharing", Sharing.types())
def test_bfloat16_says_about_what_float32_says(sharing, hetero_graph, batch):
    model = model_of(hetero_graph, sharing).float()
    for kind in batch.node_types:
        batch[kind].x = batch[kind].x.float()
    expected = model(batch)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(batch)
    for task, kinds in TASKS.items():
        for kind in kinds:
            torch.testing.assert_close(
                found[task][kind].float(), expected[task][kind], atol=0.05, rtol=0.05
            )


def test_mmoe_is_a_softmax_mixture_of_experts_for_each_task(hetero_graph, batch):
    model = model_of(hetero_graph, "mmoe", num_experts=3)
    expected = {}
    for task, kinds in TASKS.items():
        weight = model.gates[task].linear.weight
        x = model.trunk(model.projection(batch), batch)
        expected[task] = {
            kind: torch.einsum(
                "ne,ned->nd", (x[kind] @ weight.T).softmax(1), experts_of(model.shared, x[kind])
            )
            for kind in kinds
        }
    assert_equal(model(batch), expected)


def test_mmoe_with_one_expert_is_hard_up_to_the_expert(hetero_graph, batch):
    one, hard = model_of(hetero_graph, "mmoe", num_experts=1), model_of(hetero_graph, "hard")
    hard.load_state_dict({k: w for k, w in one.state_dict().items() if k in hard.state_dict()})
    expected = {
        task: {kind: one.shared.linear(x).relu() for kind, x in out.items()}
        for task, out in hard(batch).items()
    }
    assert_equal(one(batch), expected)


def test_cgc_mixes_own_and_shared_experts(hetero_graph, batch):
    model = model_of(hetero_graph, "cgc", num_shared=2, num_own=3)
    x = model.trunk(model.projection(batch), batch)
    expected = {}
    for task, kinds in TASKS.items():
        weight, out = model.gates[task].linear.weight, {}
        for kind in kinds:
            own, shared = (experts_of(e, x[kind]) for e in (model.own[task], model.shared))
            chosen = (x[kind] @ weight.T).softmax(1).unsqueeze(-1)
            out[kind] = (chosen * torch.cat([own, shared], 1)).sum(1)
        expected[task] = out
    assert_equal(model(batch), expected)


def test_a_gate_of_cgc_sees_its_own_and_the_shared_experts_alone(hetero_graph, batch):
    model = model_of(hetero_graph, "cgc", num_shared=2, num_own=1)
    assert model.gates["price"].choices == ("own_0", "shared_0", "shared_1")
    before = model(batch)
    with torch.no_grad():
        model.own["price"].linear.weight.mul_(2)
        model.own["price"].linear.bias.add_(1)
    after = model(batch)
    changed = [t for t, kinds in TASKS.items() for k in kinds if after[t][k].ne(before[t][k]).any()]
    assert changed == ["price"]


def test_ple_mixes_own_and_shared_convolutions_at_every_layer(hetero_graph, batch):
    model = model_of(hetero_graph, "ple")
    heard = {SHARED: [SHARED, *sorted(TASKS)], **{task: [task, SHARED] for task in TASKS}}
    projected = {kind: h.dense() for kind, h in model.projection(batch).items()}
    x = dict.fromkeys(heard, projected)
    for layer, hop in enumerate(hops(batch, 2)):
        said = {}
        for owner in heard:
            raw = {k: Embeddings(h) for k, h in x[owner].items()}
            out = model.experts[f"{owner}_0"].layer(layer, raw, hop)
            said[owner] = out if layer else {k: h.relu() for k, h in out.items()}
        mixed = {}
        for owner, others in heard.items():
            if layer and owner == SHARED:
                continue
            weight, mixed[owner] = model.gates[f"layer_{layer}_{owner}"].linear.weight, {}
            for kind, own in said[owner].items():
                there = [i for i, other in enumerate(others) if kind in said[other]]
                chosen = (x[owner][kind][: len(own)] @ weight[there].T).softmax(1).unsqueeze(-1)
                outputs = torch.stack([said[others[i]][kind] for i in there], 1)
                mixed[owner][kind] = (chosen * outputs).sum(1)
        x = mixed
    assert_equal(model(batch), x)


def test_experts_of_ple_have_no_weights_for_types_that_nothing_of_reaches_their_task(hetero_graph):
    experts = model_of(hetero_graph, "ple", num_layers=1).experts
    types = {name: trunk.input_types for name, trunk in experts.items()}
    assert types == {
        "spend_0": ("item", "user"),
        "buys_0": ("item", "shop", "user"),
        "price_0": ("item", "shop", "user"),
        f"{SHARED}_0": ("item", "shop", "user"),
    }


def test_cross_stitch_mixes_the_trunks_of_all_tasks_after_every_layer(hetero_graph, batch):
    model, names = model_of(hetero_graph, "cross_stitch"), sorted(TASKS)
    for gate in gates_of(model):
        nn.init.normal_(gate.alpha)
    x = {task: model.projections[task](batch) for task in names}
    for layer, hop in enumerate(hops(batch, 2)):
        alpha = torch.stack([model.stitches[f"layer_{layer}_{task}"].alpha for task in names])
        out = [model.trunks[task].layer(layer, x[task], hop) for task in names]
        mixed = {
            kind: torch.einsum(
                "ts,snd->tnd",
                alpha,
                torch.stack([h[kind] if layer else h[kind].relu() for h in out]),
            )
            for kind in out[0]
        }
        x = {t: {k: Embeddings(h[i]) for k, h in mixed.items()} for i, t in enumerate(names)}
    assert_equal(model(batch), {t: {k: e.dense() for k, e in x[t].items()} for t in names})


def test_cross_stitch_starts_near_the_identity(hetero_graph):
    stitches = model_of(hetero_graph, "cross_stitch").stitches
    expected = torch.tensor([0.05, 0.9, 0.05]).double()  # buys, price, spend
    torch.testing.assert_close(stitches["layer_0_price"].alpha.data, expected, atol=1e-6, rtol=0)
    alone = model_of(hetero_graph, "cross_stitch", tasks={"spend": ("user",)})
    assert alone.stitches["layer_0_spend"].alpha.item() == 1


def test_unmixed_cross_stitch_is_a_network_for_each_task(hetero_graph, batch):
    model = model_of(hetero_graph, "cross_stitch")
    for gate in gates_of(model):
        gate.alpha.data = torch.tensor([float(name == gate.task) for name in gate.tasks]).double()
    expected = {t: model.trunks[t](model.projections[t](batch), batch) for t in TASKS}
    assert_equal(model(batch), expected)


def test_mtan_masks_every_layer_of_one_trunk(hetero_graph, batch):
    model, num_seeds = model_of(hetero_graph, "mtan"), {k: len(s) for k, s in SEEDS.items()}
    u = {kind: h.dense() for kind, h in model.projection(batch).items()}
    raw = [model.trunk.layer(0, model.projection(batch), next(hops(batch, 2)))]
    p = [{k: h.relu() for k, h in raw[0].items()}, model.trunk(model.projection(batch), batch)]
    expected = {}
    for task, kinds in TASKS.items():
        first, second = (model.masks[f"layer_{layer}_{task}"] for layer in range(2))
        expected[task] = {}
        for kind in kinds:
            n = num_seeds[kind]
            hidden = first.seen(u[kind][:n]).relu()
            masked = first.output(hidden).sigmoid() * p[0][kind][:n]
            sides = torch.cat([p[0][kind][:n], model.passed[0](masked).relu()], 1)
            weight = torch.cat([second.seen.weight, second.passed.weight], 1)
            hidden = (sides @ weight.T + second.seen.bias).relu()
            expected[task][kind] = second.output(hidden).sigmoid() * p[1][kind]
    assert_equal(model(batch), expected)


def test_dselect_k_is_a_mixture_of_experts_that_are_chosen_bit_by_bit(hetero_graph, batch):
    model = model_of(hetero_graph, "dselect_k", num_experts=8, num_selected=3)
    x, expected = model.trunk(model.projection(batch), batch), {}
    for task, kinds in TASKS.items():
        gate, expected[task] = model.gates[task], {}
        nn.init.normal_(gate.bits.weight)  # some steps are flat, some are not
        for kind in kinds:
            z = gate.bits(x[kind]).view(-1, 3, 3)
            smooth = -2 * z**3 + 1.5 * z + 0.5
            step = torch.where(z <= -0.5, 0.0, torch.where(z >= 0.5, 1.0, smooth))
            r = [
                torch.stack([step[..., b] if i >> b & 1 else 1 - step[..., b] for b in range(3)])
                for i in range(8)
            ]
            share = gate.mixture(x[kind]).softmax(1)
            weights = torch.stack([(share * bits.prod(0)).sum(1) for bits in r], 1)
            out = experts_of(model.shared, x[kind])
            expected[task][kind] = (weights.unsqueeze(-1) * out).sum(1)
    assert_equal(model(batch), expected)


@pytest.mark.parametrize(("scale", "num_chosen"), [(1, 8), (1e6, 2)])
def test_a_gate_of_dselect_k_chooses_k_experts_at_most_once_its_steps_are_done(
    scale, num_chosen, hetero_graph
):
    gate = model_of(hetero_graph, "dselect_k", num_experts=8, num_selected=2).gates["price"]
    with torch.no_grad():
        gate.bits.weight.mul_(scale)
    rows = torch.eye(8).double().unsqueeze(1).expand(8, 50, 8)
    outputs = dict(zip(gate.choices, rows, strict=True))
    weights = gate(Embeddings(torch.randn(50, DIM).double()), outputs, 50)
    torch.testing.assert_close(weights.sum(1), torch.ones(50).double(), **EXACT)
    assert weights.ge(0).all()
    assert weights.ne(0).sum(1).max() == num_chosen


def test_dselect_k_refuses_what_bits_cannot_number():
    with pytest.raises(ValueError, match=r"num_experts \(6\) must be a power of two"):
        DSelectK(num_experts=6)
    with pytest.raises(ValueError, match=r"num_selected \(5\) must not exceed num_experts \(4\)"):
        DSelectK(num_selected=5)


def test_separate_is_hard_for_each_task_alone(hetero_graph, batch):
    model, expected = model_of(hetero_graph, "separate"), {}
    for task, kinds in TASKS.items():
        alone = model_of(hetero_graph, "hard", tasks={task: kinds})
        alone.load_state_dict(model.bottoms[task].state_dict())
        expected |= alone(batch)
    assert_equal(model(batch), expected)


def test_separate_leaves_the_other_tasks_without_a_gradient(hetero_graph, batch):
    model = model_of(hetero_graph, "separate")
    model(batch)["price"]["item"].sum().backward()
    reached = {n.split(".")[1] for n, p in model.named_parameters() if p.grad is not None}
    assert reached == {"price"}


@pytest.mark.parametrize("sharing", GATED)
def test_no_two_gates_of_a_task_have_a_choice_of_the_same_name(sharing, hetero_graph):
    tasks = {**TASKS, "shared": ("user",), "own": ("item",)}
    gates = gates_of(model_of(hetero_graph, sharing, tasks=tasks))
    names = [(gate.task, choice) for gate in gates for choice in gate.choices]
    assert len(set(names)) == len(names) > 0


@pytest.mark.parametrize("sharing", GATED)
def test_gates_add_up_the_weights_of_seeds_in_evaluation_alone(sharing, hetero_graph, batch):
    model = model_of(hetero_graph, sharing)
    model(batch)
    assert {gate.totals()[1] for gate in gates_of(model)} == {0}
    model.eval()(batch)
    for gate in gates_of(model):
        total, count = gate.totals()
        kinds = TASKS.get(gate.task, tuple(SEEDS)) if sharing != "cross_stitch" else tuple(SEEDS)
        assert count == sum(len(SEEDS[kind]) for kind in kinds)
        assert total.dtype == torch.float64
        if sharing == "mtan":
            assert 0 < total.item() < count
        else:
            torch.testing.assert_close(total.sum().item(), float(count), atol=1e-6, rtol=0)


@pytest.mark.parametrize("sharing", GATED)
def test_the_sums_of_two_batches_are_added_and_forgotten(
    sharing, hetero_graph, hetero_neighborhood
):
    model, sums = model_of(hetero_graph, sharing).eval(), []
    for seeds in (SEEDS, ALL):
        model(hetero_neighborhood(seeds, [-1, -1]))
        sums.append([gate.totals() for gate in gates_of(model)])
        for gate in gates_of(model):
            gate.reset()
    for seeds in (SEEDS, ALL):
        model(hetero_neighborhood(seeds, [-1, -1]))
    for gate, (one, n), (other, m) in zip(gates_of(model), *sums, strict=True):
        torch.testing.assert_close(gate.totals()[0], one + other, **EXACT)
        assert gate.totals()[1] == n + m
