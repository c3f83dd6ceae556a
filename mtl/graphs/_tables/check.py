"""tables: what is wrong between options that are right by themselves."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from mtl.graphs._tables.labels import ClassLabel, MultilabelLabel
from mtl.graphs._tables.options import Edges, Nodes, Table
from mtl.graphs._tables.rules import PerClassSplit, RandomSplit, TemporalSplit, moment_of
from mtl.graphs._tables.tagged import Mistake
from mtl.graphs.schema import EdgeType
from mtl.plugin import nearest

_NAME = re.compile(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*")


def edge_type_of(key: str) -> EdgeType:
    """Read `src__relation__dst`."""
    src, relation, dst = key.split("__")
    return src, relation, dst


def reverse_of(key: str, edges: Edges) -> EdgeType | None:
    """Return the relation that `reverse` adds."""
    src, relation, dst = edge_type_of(key)
    if edges.reverse is False:
        return None
    return dst, f"rev_{relation}" if edges.reverse is True else str(edges.reverse), src


def mistakes(nodes: Mapping[str, Nodes], edges: Mapping[str, Edges]) -> Iterator[Mistake]:
    """Yield where each mistake is and what is allowed."""
    if not nodes:
        yield ("nodes",), "a graph needs at least one type of nodes"
    for name, node_table in nodes.items():
        if not _NAME.fullmatch(name):
            yield ("nodes", name), "no name for a type: take letters, digits and single _ inside"
        found = _table(node_table, is_edges=False)
        yield from ((("nodes", name, *loc), text) for loc, text in found)
    right = [key for key in edges if _is_edge_type(key, nodes)]
    for key, table in edges.items():
        if key not in right:
            yield ("edges", key), _edge_key(key, nodes)
        else:
            yield from ((("edges", key, *loc), text) for loc, text in _edges(key, table))
    reverses = {key: reverse_of(key, edges[key]) for key in right}
    count = Counter([*map(edge_type_of, right), *filter(None, reverses.values())])
    for key, kind in reverses.items():
        if kind and count[kind] > 1:
            yield ("edges", key, "reverse"), f"there is a second {'__'.join(kind)}; name another"


def _is_edge_type(key: str, nodes: Mapping[str, Nodes]) -> bool:
    parts = key.split("__")
    ends = {parts[0], parts[-1]} <= nodes.keys()
    return len(parts) == 3 and ends and _NAME.fullmatch(parts[1]) is not None


def _edge_key(key: str, nodes: Mapping[str, Nodes]) -> str:
    parts = key.split("__")
    if len(parts) != 3 or not _NAME.fullmatch(parts[1]):
        return "expected SOURCE__relation__DESTINATION, the ends being types of nodes"
    unknown = next(end for end in (parts[0], parts[2]) if end not in nodes)
    hint = nearest(unknown, list(nodes))
    return f"no node type {unknown!r}{hint} (there are: {', '.join(nodes)})"


def _table(table: Table, *, is_edges: bool) -> Iterator[Mistake]:
    if table.split and table.splits:
        yield ("splits",), "give `split` or `splits`, not both"
    for name in table.types:
        if name in table.columns:
            yield ("types", name), "is a column of `columns`: cast it there"
    if table.header and len(set(table.header)) < len(table.header):
        yield ("header",), "two columns have the same name"
    for name, label in table.labels.items():
        if isinstance(label, MultilabelLabel):
            for text in _multilabel(label, is_edges=is_edges):
                yield ("labels", name), text
        elif isinstance(label, ClassLabel) and len(set(label.classes or ())) < len(
            label.classes or ()
        ):
            yield ("labels", name, "classes"), "a class stands twice"
    place: tuple[str, ...]
    for name, rule in table.rules.items():
        place = ("split",) if table.split else ("splits", name)
        if isinstance(rule, RandomSplit) and rule.train + rule.val + rule.test > 1 + 1e-9:
            yield place, "the shares add up to more than 1"
        if isinstance(rule, TemporalSplit):
            yield from ((place, text) for text in _temporal(rule, table))
        if isinstance(rule, PerClassSplit):
            yield from ((place, text) for text in _per_class(rule, table, is_edges=is_edges))


def _multilabel(label: MultilabelLabel, *, is_edges: bool) -> Iterator[str]:
    given = [n for n in ("columns", "classes", "num_classes") if getattr(label, n) is not None]
    if len(given) > 1:
        yield f"give one of {' and '.join(given)}"
    if label.columns and label.column:
        yield "give `column` or `columns`, not both"
    for names in (label.classes or (), label.columns or ()):
        if len(set(names)) < len(names):
            yield "a class stands twice"
    if is_edges and not given:
        yield "a multilabel of edges needs `num_classes`, `classes` or `columns`"


def _temporal(rule: TemporalSplit, table: Table) -> Iterator[str]:
    if not (rule.column or table.time):
        yield "needs a `column`: the table has no `time`"
    low, high = rule.val_from, rule.test_from
    if type(low) is not type(high):
        yield "val_from and test_from: one is a date, the other an integer"
    elif moment_of(low) > moment_of(high):
        yield f"val_from {low} is after test_from {high}"


def _per_class(rule: PerClassSplit, table: Table, *, is_edges: bool) -> Iterator[str]:
    classes = [name for name, label in table.labels.items() if isinstance(label, ClassLabel)]
    if is_edges:
        yield "per_class is a rule for nodes; take random or column"
    elif rule.label not in classes:
        hint = nearest(rule.label, classes)
        yield f"no class label {rule.label!r}{hint} (there are: {', '.join(classes) or 'none'})"


def _edges(key: str, edges: Edges) -> Iterator[Mistake]:
    yield from _table(edges, is_edges=True)
    src, relation, dst = edge_type_of(key)
    reverse = reverse_of(key, edges)
    if reverse and not _NAME.fullmatch(reverse[1]):
        yield ("reverse",), f"{reverse[1]!r}: take letters, digits and single _ inside"
    if src != dst:
        for name in ("symmetrise", "self_loops"):
            if getattr(edges, name) in (True, "drop", "add"):
                yield (name,), f"the ends are of different types, {src} and {dst}"
    if reverse and edges.symmetrise:
        yield ("reverse",), f"{relation} is symmetrised: its reverse would be itself"
    if edges.self_loops == "add" and edges.time:
        yield ("self_loops",), "a loop that is added has no `time`"
