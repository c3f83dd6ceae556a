"""The peer: tables to a PyG Data by hand, with pandas, as tutorials do it.

usage: python _pandas_graph.py TABLES OUT.pt [sorted]        sorted: ready for a NeighborLoader
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch_geometric.data import Data


def features(people: pd.DataFrame, train: np.ndarray) -> torch.Tensor:
    """Return numbers standardised by the training rows, categories one-hot."""
    numbers = pd.DataFrame({"age": people["age"], "spend": np.log1p(people["spend"])})
    numbers = (numbers - numbers[train].mean()) / numbers[train].std()
    numbers["age_missing"] = numbers["age"].isna()
    numbers["premium"] = people["premium"]
    countries = pd.get_dummies(people["country"])
    return torch.from_numpy(
        pd.concat([numbers.fillna(0.0), countries], axis=1).to_numpy(dtype=np.float32)
    )


def edge_index(folder: Path, ids: pd.Series) -> torch.Tensor:
    """Return the rows of the people at both ends of each edge."""
    edges = pd.read_parquet(folder / "edges")
    row_of = pd.Series(np.arange(len(ids)), index=ids)
    ends = [edges[name].map(row_of) for name in ("src", "dst")]
    assert not any(end.isna().any() for end in ends)
    return torch.from_numpy(np.stack([end.to_numpy(dtype=np.int64) for end in ends]))


def main() -> None:
    """Convert and save."""
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    people = pd.read_parquet(folder / "people.parquet")
    split = people["split"].to_numpy()
    data = Data(
        x=features(people, split == "train"),
        y=torch.from_numpy(people["segment"].astype("category").cat.codes.to_numpy(np.int64)),
        edge_index=edge_index(folder, people["id"]),
        **{f"{name}_mask": torch.from_numpy(split == name) for name in ("train", "val", "test")},
    )
    data.validate()
    if "sorted" in sys.argv:
        data = data.sort(sort_by_row=False)
    torch.save(data, out)


if __name__ == "__main__":
    main()
