"""Command lines that nobody should type, drawn from a grammar by a seed.

Keys are those of the composed configuration, of Hydra's own and some that do not exist; values are
numbers beyond every range, lists, dictionaries, texts that other languages interpret, references,
globs and sweeps. The same seed gives the same lines.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

NUMBERS = [
    *("0", "-1", "1", "2", "3", "7", "0.5", "1e-320", "1e308", "1e999", "-0.0", "1e3", "0x10"),
    *("inf", "-inf", "nan", ".5", "5.", "1_000", "00", "2147483648", "4294967296"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775809", "1" + "0" * 30),
]
TEXTS = [
    *("''", '""', "' '", "null", "true", "false", "~", "None", "???", "auto", "none", "a", "é"),
    *("'é'", "日本", "'a b'", "a b", "a'b", '"a', "'[/a]'", "[/a]", "[bold]", "'{}'", "{}"),
    *(
        "'%s'",
        "a/b",
        "/",
        "..",
        "../..",
        "'../up'",
        "../../up",
        "/nowhere/at/all",
        "/proc/x",
        "~/x",
    ),
    *(
        "'a\\nb'",
        "'\x07'",
        "a" * 300,
        "'" + "é" * 200 + "'",
        "<script>",
        "$HOME",
        "'$(id)'",
        "\\",
        "@",
    ),
    *(
        "a=b",
        "'a=b,c'",
        "-",
        "--help",
        "*",
        "glob(*)",
        "'*'",
        "con",
        "nul.",
        "a:b",
        "'a:b'",
        "#",
        "%",
    ),
]
LISTS = [
    *("[]", "[1]", "[1,2]", "[-1,0]", "[1.5,a]", "[[1],[2]]", "[null]", "[a,b]", "[[]]", "[{}]"),
    *("[relu,tanh]", "[none]", "[none,none]", "['']", "['../up']", "[1,", "1]", "[1e999]"),
]
DICTIONARIES = [
    *("{a:1}", "{a:{b:[1]}}", "{_target_:os.getcwd}", "{_target_:torch.nn.ReLU}", "{_target_:1}"),
    *(
        "{_target_:torch.nn.Tanh,_args_:[1]}",
        "{_target_:[a]}",
        "{_target_:null}",
        "{'':1}",
        "{1:2}",
    ),
    *("{_target_:torch.nn.ReLU,_recursive_:a}", "{_convert_:x}", "{_partial_:3}", "{_args_:3}"),
]
REFERENCES = [
    *("${steps}", "${nosuch}", "${lr}", "${}", "${", "'${steps}'", "${oc.env:NOSUCH}", "${a:b}"),
    *(
        "${oc.env:HOME}",
        "${now:%Y}",
        "${hydra:job.name}",
        "${.x}",
        "${...x}",
        "${gradflow.folder:a}",
    ),
    *("${gradflow.fraction:a,b}", "${gradflow.product:1}", "${oc.decode:'{'}", "${oc.create:[1]}"),
    *("${model}", "${oc.dict.keys:model}", "${gradflow.fraction:1e400,1}", "\\${steps}", "${seed}"),
]
SWEEPS = [
    *(
        "1,2",
        "a,b",
        "choice(1,2)",
        "range(3)",
        "range(0)",
        "interval(0,1)",
        "shuffle(1,2)",
        "glob(x)",
    ),
    *("sort(2,1)", "choice()", "range(1,1000000000)", "tag(a,1)", "str(1)", "int(a)", "float([])"),
    *("extend_list(1)", "json_str(1)", "bool(3)", "choice(choice(1))", "1,", ",", "cast(1)"),
]
VALUES = (NUMBERS, TEXTS, LISTS, DICTIONARIES, REFERENCES, SWEEPS)
SPECIAL = (
    "_target_",
    "_args_",
    "_recursive_",
    "_convert_",
    "_partial_",
    "_given_",
    "x",
    "0",
    "a.b",
)
HYDRA = [
    *("hydra.run.dir", "hydra.output_subdir", "hydra.sweep.dir", "hydra.sweep.subdir"),
    *("hydra.job.chdir", "hydra.job.name", "hydra.verbose", "hydra.mode", "hydra/job_logging"),
    *("hydra/hydra_logging", "hydra/launcher", "hydra/sweeper", "hydra.searchpath", "hydra/help"),
    *("hydra.job.config.override_dirname.exclude_keys", "hydra.job.config.override_dirname"),
    *("hydra.callbacks", "hydra.callbacks.study_end", "hydra.callbacks.study_end._target_"),
    *("hydra.job.env_set", "hydra.job.env_set.A", "hydra.job.env_copy", "hydra.sweeper.params"),
    *("hydra.runtime.output_dir", "hydra.job_logging.root.level", "hydra.job_logging.version"),
    *("hydra.job_logging.handlers.file.filename", "hydra.hydra_logging.root", "hydra.launcher.x"),
    *("hydra", "hydra.job", "hydra.run", "hydra.overrides.task", "hydra.env", "hydra.nosuch"),
]
HYDRA_CHOICES = ("disabled", "none", "default", "stdout", "basic", "joblib", "colorlog", "help")
# Where a value may name a place to write to, a place of the test's own stands in for absolute ones.


class Grammar:
    """Draws overrides for a configuration with the groups of `conf`."""

    def __init__(self, values: Mapping[str, Any], conf: Path, seed: int) -> None:
        self._random = random.Random(seed)
        self._keys = [key for key, _ in _flat(values)]
        self._groups: dict[str, list[str]] = {}
        for file in conf.glob("**/*.yaml"):
            if file.parent not in (conf, conf / "lab") and file.parent.name != "study":
                self._groups.setdefault(file.parent.name, []).append(file.stem)
        for names in self._groups.values():
            names.sort()

    def lines(self, count: int) -> Iterator[list[str]]:
        """Yield `count` lists of one to three overrides."""
        for _ in range(count):
            number = self._random.choices((1, 2, 3), (8, 2, 1))[0]
            yield [self._override() for _ in range(number)]

    def _override(self) -> str:
        draw = self._random
        kind = draw.random()
        if kind < 0.55:
            key, value = draw.choice(self._keys), self._value()
            if draw.random() < 0.25:
                key = f"{key}.{draw.choice(SPECIAL)}"
        elif kind < 0.75:
            key = draw.choice(sorted(self._groups))
            value = draw.choice((draw.choice(self._groups[key]), self._value()))
            if draw.random() < 0.1:
                key += draw.choice(("@x", "@_global_", "@model", "@:x", "@", "/x", "@model:task"))
        elif kind < 0.93:
            key = draw.choice(HYDRA)
            value = draw.choice((draw.choice(HYDRA_CHOICES), self._value()))
        else:
            key = draw.choice(
                ("nosuch", "a.b", "", ".", "a..b", "é", "0", "axes", "axes.model", "a b")
            )
            value = self._value()
        sign = draw.choices(("", "+", "++", "~"), (12, 3, 2, 2))[0]
        if sign == "~" and draw.random() < 0.6:
            return f"~{key}"
        if draw.random() < 0.02:
            return f"{sign}{key}"
        return f"{sign}{key}={value}"

    def _value(self) -> str:
        return self._random.choice(self._random.choice(VALUES))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        yield f"{prefix}{key}", value
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
