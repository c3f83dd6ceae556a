"""Readers of other packages, for the sources that convert what they return."""

import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import numpy as np

from mtl.errors import ConfigError, DataError, UserError


def check_trust(trust: bool, reader: str) -> None:
    """Refuse to start a reader that unpickles, unless it was allowed to.

    Raises:
        ConfigError: says what the danger is and how to allow it.
    """
    if not trust:
        raise ConfigError(
            f"needs `trust: true`, because {reader} unpickles the files of its data sets, and a "
            "pickle can run any code; give it if you trust whoever made these files"
        )


@contextmanager
def foreign_reader(what: str, seed: int) -> Iterator[None]:
    """Let a reader of another package work: seeded, its failures in our words.

    Raises:
        ConfigError: the reader needs a package that is missing.
        DataError: the reader failed.
    """
    import torch

    states = random.getstate(), np.random.get_state()
    try:
        with (
            torch.random.fork_rng(devices=[]),
            warnings.catch_warnings(),
            redirect_stdout(sys.stderr),
        ):
            for kind in (DeprecationWarning, FutureWarning, UserWarning):
                warnings.simplefilter("ignore", kind)  # for the reader's authors, not for ours
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed)
            yield
    except UserError:
        raise
    except ImportError as error:
        raise ConfigError(f"graph: {what} needs another package: {error}") from error
    except Exception as error:  # other people's code: any
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise DataError(f"graph: {what} cannot be read: {reason}") from error
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
