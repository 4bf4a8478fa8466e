"""A notebook as a script: probe a sick net, train it with and without a remedy, compare the runs.

Cells begin with `# %%`, as VS Code, PyCharm, Spyder and Jupyter (with jupytext) read them.
`python scripts/lab/notebook.py` runs all of them, in about a minute on two cores.
"""

# %% A configuration is a list of overrides, as on the command line.
from pathlib import Path

from gradflow.launch.compose import compose

RUNS = Path("outputs/notebook")
WORDS = ["data=cifar10", "data.batch_size=64", "steps=150", "test=false", "logger=none"]
SICK = ["pathology=vanishing"]

# %% Probe: one batch forward and backward, before any training.
from lab.probe.run import probe  # noqa: E402

before = probe(compose([*WORDS, *SICK]))
print(before.verdict)
print("log10 RMS of dL/dz, first to last layer:", before.flow.gradient.round(1).tolist())
print("chi_1:", before.mean_field and round(before.mean_field.chi_1, 3))

# %% Train: a run is a function of a configuration and a folder. A finished one is left as it is.
from project.train import train  # noqa: E402

for remedy in ("none", "relu", "batch_norm"):
    for seed in (0, 1, 2):
        words = [*WORDS, *SICK, f"remedy={remedy}", f"seed={seed}", "study.name=notebook"]
        train(compose(words), RUNS / f"{remedy}_{seed}", name=f"{remedy}, seed {seed}")

# %% Compare: read the runs, and sum them up by configuration.
from gradflow import read_runs  # noqa: E402
from gradflow.comparison.answer import answers  # noqa: E402
from gradflow.comparison.columns import DECADES, metric  # noqa: E402
from gradflow.comparison.configurations import configurations  # noqa: E402

runs = read_runs([RUNS])
keys, rows = configurations(runs)
for row in rows:
    print(
        row.name,
        row.outcomes,
        row.figures(DECADES).mean,
        row.figures(metric("train/accuracy")).mean,
    )
print(*answers(keys, rows), sep="\n")

# %% Draw: the figures are matplotlib's, so a notebook shows them where they stand.
from gradflow.comparison.figures.profiles import draw_profiles  # noqa: E402

profiles = draw_profiles(keys, rows)
profiles.savefig(RUNS / "profiles.png", dpi=150)
print("figure:", RUNS / "profiles.png")
