"""Who may import whom: the line between library, template and laboratory, and the rooms' order."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gradflow

LIBRARY = Path(gradflow.__file__).parent
# Each room may import from those before it in its row, from itself, and from the ground.
GROUND = {"errors", "version"}
ALLOWED = {
    "gradients": set(),
    "runs": {"gradients"},
    "training": {"runs", "gradients"},
    "comparison": {"runs", "gradients"},
    "launch": {"training", "comparison", "runs", "gradients"},
}


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Every module that a file imports, wherever in it, with the line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)


FILES = sorted(LIBRARY.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_a_file_imports_from_its_own_room_and_from_those_below(path: Path) -> None:
    room = path.relative_to(LIBRARY).parts[0]
    for line, module in imported(path):
        package, _, rest = module.partition(".")
        assert package not in ("project", "lab", "tests", "scripts"), f"{path}:{line}: {module}"
        if package != "gradflow" or room not in ALLOWED:
            continue
        other = rest.partition(".")[0]
        allowed = ALLOWED[room] | {room} | (set() if room == "gradients" else GROUND)
        assert other in allowed, f"{path}:{line}: {room} imports {module}"


def test_there_are_no_other_rooms() -> None:
    rooms = {path.name for path in LIBRARY.iterdir() if path.is_dir() and list(path.glob("*.py"))}
    assert rooms == ALLOWED.keys()


@pytest.mark.slow
def test_gradients_need_no_hydra_and_no_wandb_to_be_imported() -> None:
    """What Lightning itself brings along is not counted."""
    program = """
import sys
import lightning.pytorch, numpy, polars, torch
before = set(sys.modules)
from gradflow import GradientMonitor, diagnose, read_run
added = {name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names
print(" ".join(sorted(added)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    foreign = set(done.stdout.split()) - {"gradflow", "torch", "lightning", "numpy", "polars"}
    assert foreign <= {"yaml"}, foreign  # Lightning's own


# A fork's conf/ and code lean on these; one that goes is announced in CHANGELOG.md.
PUBLIC = {
    *("ConfigError", "DataError", "GradientMonitor", "Project", "RunConfig", "Verdict"),
    *("__version__", "compose", "diagnose", "diagnose_record", "instantiate", "open_run"),
    *("read_gradients", "read_run", "read_runs"),
}
TARGETS = {
    *("gradients.monitor.GradientMonitor", "launch.study.StudyEnd", "launch.preflight.Preflight"),
    *(f"training.clipping.{kind}Clip" for kind in ("No", "Norm", "Value", "Adaptive")),
}
RESOLVERS = {f"gradflow.{name}" for name in ("product", "fraction", "folder", "single_run")}


def test_the_public_names_are_there() -> None:
    from omegaconf import OmegaConf

    from gradflow.launch.plugins import register

    assert set(gradflow.__all__) >= PUBLIC
    for name in gradflow.__all__:
        assert getattr(gradflow, name) is not None
    for target in TARGETS:
        module, _, name = f"gradflow.{target}".rpartition(".")
        assert hasattr(__import__(module, fromlist=[name]), name), target
    register()
    assert all(OmegaConf.has_resolver(name) for name in RESOLVERS)


def test_what_is_not_public_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        gradflow.nothing  # noqa: B018


# What the template's conf/ and code call things: the library is told them and never knows them.
THEIRS = ("cifar", "accuracy", "resnet", "plain_cnn", "kaiming", "xavier", "batch_norm", "lower_lr")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_no_text_in_the_code_names_what_belongs_to_a_project(path: Path) -> None:
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {ast.get_docstring(n, False) for n in ast.walk(tree) if isinstance(n, documented)}
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and text not in docstrings:
            named = [word for word in THEIRS if word in text.lower()]
            assert not named, f"{path}:{node.lineno}: {named}"
