"""The library alone, in an environment of its own: what somebody else's Lightning project has."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import gradflow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LIBRARY = Path(gradflow.__file__).parent
NEEDED = ("torch", "lightning", "numpy", "polars")
PROGRAM = """
import importlib.util, sys
from pathlib import Path
import lightning as L, torch
from torch import nn
from gradflow import GradientMonitor, diagnose, read_run

for absent in ("hydra", "wandb", "matplotlib", "pydantic", "project", "lab"):
    assert importlib.util.find_spec(absent) is None, absent

class Own(L.LightningModule):
    def __init__(self):
        super().__init__()
        layers = [nn.Flatten(), nn.Linear(48, 16)]
        for _ in range(6):
            layers += [nn.Sigmoid(), nn.Linear(16, 16)]
        self.net = nn.Sequential(*layers, nn.Sigmoid(), nn.Linear(16, 4))
    def training_step(self, batch, index):
        x, y = batch
        return nn.functional.cross_entropy(self.net(x), y)
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

data = torch.utils.data.TensorDataset(torch.randn(64, 3, 4, 4), torch.randint(0, 4, (64,)))
monitor = GradientMonitor(every_n_steps=2, remedies={"vanishing": ["another activation"]})
L.Trainer(
    max_steps=12, accelerator="cpu", default_root_dir="run", callbacks=[monitor], logger=False,
    enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
).fit(Own(), torch.utils.data.DataLoader(data, batch_size=16))
assert diagnose(monitor.flows).kind == "vanishing"
run = read_run(Path("run"))
assert run.verdict.kind == "vanishing"
assert run.verdict.remedies == ("another activation",)
assert [flow.step for flow in run.flows()] == [0, 2, 4, 6, 8, 10, 11]
print(run.verdict)
"""


def uv() -> str:
    own = Path.cwd() / ".uv" / "bin" / "uv"
    found = shutil.which("uv") if shutil.which("uv") and not own.exists() else str(own)
    assert found, "uv is neither on the PATH nor in .uv, where `make setup` puts it"
    return found


def run(*command: str | Path, cwd: Path) -> str:
    # Of this environment nothing may be found.
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the library's folder: building must not write into the repository."""
    copy = tmp_path / "source"
    shutil.copytree(LIBRARY, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def test_the_monitor_works_in_a_project_that_has_the_library_alone(
    tmp_path: Path, source: Path
) -> None:
    tool, python = uv(), tmp_path / "env" / "bin" / "python"
    run(tool, "venv", "-q", "--python", sys.executable, tmp_path / "env", cwd=tmp_path)
    pinned = [f"{name}=={version(name)}" for name in NEEDED]
    run(tool, "pip", "install", "-q", "--python", python, source, *pinned, cwd=tmp_path)
    (tmp_path / "own.py").write_text(PROGRAM)
    output = run(python, tmp_path / "own.py", cwd=tmp_path)
    assert output.splitlines()[-1].startswith("vanishing: dL/dz shrinks by ")


def test_a_wheel_holds_the_pages_assets_and_neither_project_nor_laboratory(
    tmp_path: Path, source: Path
) -> None:
    run(uv(), "build", "-q", "--wheel", "--out-dir", tmp_path / "dist", source, cwd=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert wheel.name.startswith(f"gradflow-{gradflow.__version__}-")
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
    expected = {
        f"gradflow/{path.relative_to(LIBRARY)}"
        for path in LIBRARY.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "pyproject.toml"
    }
    packaged = {name for name in names if not name.startswith("gradflow-")}
    assert packaged == expected
    assert "gradflow/comparison/page/assets/template.html" in packaged
