"""The code of each framework's page runs, from top to bottom, and trains."""

import importlib
import re

import jax
import numpy as np
import pytest

import velo
from tests.docs.test_pages import QUICK, ROOT, blocks
from velo.transformation import resolve_weights

PAGES = {"jax": (), "flax": ("flax",), "equinox": ("equinox",)}
"""Page -> modules that it needs."""


@pytest.mark.parametrize("name", PAGES)
def test_code_of_a_page_runs(name, monkeypatch, tmp_path):
    for module in PAGES[name]:
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        importlib.import_module("velo.transformation"),
        "resolve_weights",
        lambda weights: QUICK if weights == "default" else resolve_weights(weights),
    )
    namespace = {}
    with jax.numpy_rank_promotion("allow"):  # a page is written as its reader would write it
        for block in blocks(f"docs/frameworks/{name}.md"):
            exec(re.sub(r"(num_steps = )\d+", r"\g<1>30", block), namespace)
    assert namespace["velo"] is velo
    assert float(namespace["loss"]) < 1.0 < np.log(10)


def test_every_page_is_here_and_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    pages = [path.stem for path in (ROOT / "docs" / "frameworks").glob("*.md")]
    assert set(PAGES) <= set(pages)
    assert [page for page in pages if f"- frameworks/{page}.md" not in navigation] == []
