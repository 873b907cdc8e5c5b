"""Tests the package at the lower ends of its supported ranges, and checks a fresh installation of its wheel.

Usage: python .ci/versions.py [lowest|ray|newest ...]; all of them by default. Each builds an environment of its own
under .cache/versions. `make test` is the upper end, with the versions of constraints.txt.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOOLS = ["pytest", "pytest-xdist", "jaxtyping", "beartype"]
CORE_TESTS = ["test_transformation.py", "test_weights.py", "test_training.py", "test_mistakes.py", "test_laws.py"]
# Counts compilations, which are more at older versions; what is computed is the same.
NOT_AT_LOWEST = "not test_state_shards_stably"
FIVE_LINES = """
import jax, jax.numpy as jnp, optax, velo
params = {"w": jnp.ones((3, 4))}
tx = velo.optimizer(num_steps=10)
state = tx.init(params)
loss, grads = jax.value_and_grad(lambda p: jnp.sum(p["w"] ** 2))(params)
updates, state = tx.update(grads, state, params, value=loss)
params = optax.apply_updates(params, updates)
print(velo.__version__, "with jax", jax.__version__, "optax", optax.__version__, params["w"][0, 0])
"""


def lowest(requirements):
    """The lower ends of ranges, `jax==0.6` for `jax>=0.6`, with the jaxlib of that JAX."""
    pins = [re.sub(r">=([\d.]+)$", r"==\1", entry) for entry in requirements if ">=" in entry]
    return pins + [pin.replace("jax==", "jaxlib==") for pin in pins if pin.startswith("jax==")]


def environment(name, *packages):
    """The Python of a new environment with these packages and the wheel."""
    folder = ROOT / ".cache" / "versions" / name
    venv.create(folder, clear=True, with_pip=True)
    python = str(folder / "bin" / "python")
    with tempfile.TemporaryDirectory() as wheels:
        run(python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, str(ROOT))
        wheel = next(Path(wheels).glob("*.whl"))
        run(python, "-m", "pip", "install", "--quiet", *packages, wheel)
    run(python, "-m", "pip", "check")
    return python


def run(*command, cwd=ROOT):
    subprocess.run([str(part) for part in command], check=True, cwd=cwd)


def test(python, *arguments):
    run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments)


def main(names):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for name in names or ["lowest", "ray", "newest"]:
        with tempfile.TemporaryDirectory() as empty:
            if name == "lowest":
                python = environment(name, *lowest(project["dependencies"]), *TOOLS)
                run(python, "-c", FIVE_LINES, cwd=empty)
                test(python, "-k", NOT_AT_LOWEST, *(f"tests/velo/{file}" for file in CORE_TESTS))
            elif name == "ray":
                extra = project["optional-dependencies"]["meta-train"]
                pins = lowest(entry for entry in extra if entry.startswith("ray"))
                others = [entry for entry in extra if not entry.startswith(("ray", "velo["))]
                tasks = project["optional-dependencies"]["tasks"]
                python = environment(name, *pins, *others, *tasks, *TOOLS)
                test(python, "tests/meta_train/test_ray.py", "-k", "two_ray_workers")
            elif name == "newest":
                run(environment(name), "-c", FIVE_LINES, cwd=empty)
            else:
                raise SystemExit(f"unknown environment {name!r}; known: lowest, ray, newest")
    print("all of them work:", ", ".join(names or ["lowest", "ray", "newest"]))


if __name__ == "__main__":
    main(sys.argv[1:])
