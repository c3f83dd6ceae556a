"""job/evaluate.py refuses what it does not know, with the nearest word."""

import pytest

from job.evaluate import main
from mtl.errors import ConfigError


def test_a_misspelt_option_is_refused_with_the_nearest_one(tmp_path):
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(ConfigError, match=r"splt: no such option; did you mean 'split'\?"):
        main([str(tmp_path), "splt=val"])
