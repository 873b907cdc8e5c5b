"""The code on the pages runs, their links lead somewhere, and the site builds without a warning."""

import dataclasses
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import velo
from tests.examples.learned_rate import LearnedRate

ROOT = Path(__file__).parents[2]
QUICK = (LearnedRate(), jnp.float32(0.01))


def blocks(page):
    """Python of a page; what needs PyTorch is left out where it isn't installed."""
    found = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return [block for block in found if "torch" not in block or importlib.util.find_spec("torch")]


def tutorial_definitions():
    """`loss_fn`, `params`, `batches` of the tutorial's first block."""
    tiny = velo.VeLO(lstm_size=2, num_mixtures=2, basis="elementwise")
    namespace = {"weights": "default", "weights_of_velo": (tiny, tiny.init(jax.random.key(0)))}
    exec(blocks("docs/tutorial.md")[0], namespace)
    return namespace


def readme_definitions():
    namespace = tutorial_definitions()
    namespace["batch"] = namespace["batches"](0)
    if importlib.util.find_spec("torch"):
        import torch

        namespace["model"] = torch.nn.Linear(64, 10)
        inputs, targets = map(torch.from_numpy, namespace["batch"])
        namespace["loss_of"] = lambda model: torch.nn.functional.cross_entropy(model(inputs), targets)
    return namespace


@pytest.mark.parametrize(
    ("page", "definitions"),
    [
        ("README.md", readme_definitions),
        ("docs/tutorial.md", dict),
        ("docs/how_to.md", tutorial_definitions),
        ("docs/run_length.md", tutorial_definitions),
        ("docs/mup.md", dict),
    ],
)
def test_code_on_a_page_runs(page, definitions, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for module in (velo.transformation, velo.diagnostics):
        monkeypatch.setattr(module, "resolve_weights", lambda weights: QUICK if isinstance(weights, str) else weights)
    with jax.numpy_rank_promotion("allow"):
        namespace = {**definitions(), "velo": velo, "jax": jax}
        if importlib.util.find_spec("torch"):
            namespace["torch"] = importlib.import_module("torch")
        for block in blocks(page):
            exec(re.sub(r"(?i)(num_steps ?= ?)\d+", r"\g<1>30", block), namespace)
    assert np.all(np.isfinite(jax.tree.leaves(namespace["params"])[0]))


@pytest.mark.slow
def test_the_evaluation_from_python_runs(monkeypatch, tmp_path):
    """The page's own task and optimizers, for two steps."""
    monkeypatch.chdir(tmp_path)
    definitions, comparison = blocks("docs/evaluation.md")
    namespace = {"my_learned_optimizer": QUICK[0], "my_theta": QUICK[1]}
    exec(definitions, namespace)
    namespace["task"] = dataclasses.replace(namespace["task"], num_steps=2)
    exec(comparison, namespace)
    assert "mine" in (tmp_path / "runs" / "mine" / "report.md").read_text()


def test_links_of_the_readme_lead_somewhere():
    """Those within the site are checked by its build."""
    links = re.findall(r"\]\(([^)#\s]+)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not link.startswith("https://") and not (ROOT / link).exists()] == []


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert [path.name for path in (ROOT / "docs").glob("*.md") if f"- {path.name}" not in navigation] == []


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="the site's tools are not installed: pip install 'velo[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "velo.fit" in (tmp_path / "site" / "api" / "index.html").read_text()
    linked = {
        target
        for page in (ROOT / "docs").rglob("*.md")
        for target in re.findall(r"\]\((?:\.\./)?(runs/[^)#]+)\)", page.read_text())
    }
    files = [target for target in linked if (ROOT / "docs" / target).is_file()]
    assert files
    assert [target for target in files if not (tmp_path / "site" / target).exists()] == []
