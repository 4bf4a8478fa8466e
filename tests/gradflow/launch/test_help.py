"""`--help` lists every choice of every axis with a line of its own file."""

from pathlib import Path

from gradflow.launch.help import help_text

FILES = {
    "train.yaml": "defaults:\n  - model: deep\n  - optional lab: lab\n  - _self_\n",
    "run.yaml": "seed: 0  # of everything\nstudy:\n  name: x\n",
    "model/deep.yaml": "# Many layers.\n# More of it.\ndepth: 9\n",
    "model/wide.yaml": "# @package _global_\n# Few layers, but\n# wide ones.\nmodel: {}\n",
    "lab/lab.yaml": "defaults:\n  - /remedy: none\n",
    "lab/remedy/none.yaml": "{}\n",
    "lab/remedy/clip.yaml": "# Cut.\n",
}


def test_each_choice_has_its_line_and_the_default_a_star(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert help_text(tmp_path).splitlines() == [
        "model=",
        " *deep  Many layers.",
        "  wide  Few layers, but …",
        "remedy=",
        "  clip  Cut.",
        " *none",
        "",
        "seed: 0  # of everything",
    ]
