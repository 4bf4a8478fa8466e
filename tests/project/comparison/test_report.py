"""A study's report: it names what its runs have logged, and is what W&B's library sends.

The runs are real ones, logged offline and read back by W&B's own program. No server that stores
reports can be run here, so a stand-in on this machine answers the library's requests and notes what
it is sent.
"""

import functools
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml
from hand_made import a_folder
from records import wandb_records

from gradflow.comparison.report import definition, make_report, read_study, send
from gradflow.errors import ConfigError
from gradflow.launch.compose import compose
from gradflow.runs.config import Study
from gradflow.runs.status import Status
from project.train import train

# On one worker, so that its runs are trained once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("report")]

REPOSITORY = Path(__file__).parents[3]
NAME = "depth=8,both"  # the library's own filter language would make a == of its =
TINY = [
    *("data=synthetic", "data.train_images=200", "data.validation=100", "data.batch_size=16"),
    *("model.depth=8", "model.width=4", "trainer=cpu", "threads=1", "test=false"),
    *("steps=4", "validate_every=2", "log_every=2", "monitor.every_n_steps=3"),
]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one study, finished, with the offline logger."""
    folder = tmp_path_factory.mktemp("multirun") / NAME
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(REPOSITORY)
        for kind in ("DATA", "CACHE", "CONFIG"):
            patch.setenv(f"WANDB_{kind}_DIR", str(folder.parent / "wandb_files"))
        for activation in ("sigmoid", "relu"):
            config = compose([*TINY, f"activation={activation}"])
            config = config.model_copy(update={"study": Study(name=NAME)})
            train(config, folder / f"activation={activation}", name=f"activation={activation}")
    return folder


@functools.cache
def logged(run: Path) -> dict[str, set[str]]:
    """The names that a run has sent W&B, by the kind of its records."""
    found: dict[str, set[str]] = {"history": set(), "summary": set(), "config": set()}
    for record in wandb_records(run):
        if record["type"] == "history":
            found["history"] |= record["history"]["item"].keys()
        elif record["type"] == "summary":
            found["summary"] |= record["summary"]["update"].keys()
        elif record["type"] == "run":
            found["config"] |= record["run"]["config"]["update"].keys()
            found["group"] = {record["run"]["run_group"]}
    return found


def grids(sent: dict[str, Any]) -> list[dict[str, Any]]:
    return [b["metadata"] for b in sent["spec"]["blocks"] if b["type"] == "panel-grid"]


def panels(sent: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    every = [panel for grid in grids(sent) for panel in grid["panelBankSectionConfig"]["panels"]]
    return [panel["config"] for panel in every if panel["viewType"] == kind]


def test_every_panel_draws_the_runs_of_the_studys_group(study: Path) -> None:
    sent = definition(make_report(read_study(study)))
    assert sent["projectName"] == "gradflow"
    filters = [run_set["filters"]["filters"] for grid in grids(sent) for run_set in grid["runSets"]]
    assert len(filters) == len(grids(sent)) == 5
    for (of_group,) in filters:
        assert of_group["key"] == {"section": "run", "name": "group"}
        assert (of_group["op"], of_group["value"]) == ("=", NAME)
    for run in study.iterdir():
        assert logged(run)["group"] == {NAME}


def test_every_key_of_a_panel_is_one_that_the_runs_have_logged(study: Path) -> None:
    sent = definition(make_report(read_study(study)))
    curves = {key for config in panels(sent, "Run History Line Plot") for key in config["metrics"]}
    axes = {config["xAxis"] for config in panels(sent, "Run History Line Plot")}
    (pictures,) = panels(sent, "Media Browser")
    columns = [run_set["runFeed"]["columnOrder"] for g in grids(sent) for run_set in g["runSets"]]
    for run in study.iterdir():
        found = logged(run)
        assert curves | axes <= found["history"]
        assert {f"{key}._type" for key in pictures["mediaKeys"]} <= found["history"]
        for column in {column for of_grid in columns for column in of_grid}:
            kind, _, key = column.partition(":")
            if kind == "run":
                assert key in ("displayName", "state")
            else:
                assert key.partition(".value")[0] in found[kind]


def test_every_chart_draws_columns_of_a_table_that_the_runs_have_logged(study: Path) -> None:
    charts = panels(definition(make_report(read_study(study))), "Vega2")
    assert len(charts) == 5
    for config in charts:
        (query,) = config["userQuery"]["queryFields"]
        (table,) = [part for part in query["fields"] if part["name"] == "summaryTable"]
        (key,) = [part["value"] for part in table["args"]]
        for run in study.iterdir():
            assert f"{key}._type" in logged(run)["summary"]
            (file,) = run.glob(f"wandb/offline-run-*/files/media/table/{key}_*.json")
            assert set(config["fieldSettings"].values()) <= set(
                json.loads(file.read_text())["columns"]
            )


def test_a_chart_is_the_one_that_the_run_itself_has_logged(study: Path) -> None:
    """W&B shows that one in its workspace: the same preset, fields and query, but for the limit."""
    table = wandb.Table(columns=["layer", "log10_gradient", "record"])
    own = wandb.plot.line(table, "layer", "log10_gradient", "record")
    own.set_key("gradient_profile")
    wanted = own.spec.config_value["panel_config"]
    config = panels(definition(make_report(read_study(study))), "Vega2")[0]
    for setting in ("panelDefId", "fieldSettings", "transform"):
        assert config[setting] == wanted[setting]
    (query,), (own_query,) = config["userQuery"]["queryFields"], wanted["userQuery"]["queryFields"]
    assert query["fields"] == own_query["fields"]
    assert query["args"][:1] == own_query["args"]


def test_only_the_differences_are_compared(study: Path) -> None:
    sent = definition(make_report(read_study(study)))
    assert panels(sent, "Run Comparer") == [{"diffOnly": True}]
    assert "config:activation.value" in grids(sent)[0]["runSets"][0]["runFeed"]["columnOrder"]


def documented(section: str) -> re.Pattern[str]:
    """What the first column of a section's table names; `<parameter>` stands for any."""
    page = (REPOSITORY / "docs" / "weights_and_biases.md").read_text()
    lines = page.partition(f"## {section}\n")[2].partition("\n## ")[0].splitlines()
    cells = [line.split(" | ")[0] for line in lines if line.startswith("| ")]
    words = [word for cell in cells for word in re.findall(r"`([^`]+)`", cell)]
    patterns = [re.sub("<.+>", ".+", re.escape(word)) for word in words]
    return re.compile(rf"(?:{'|'.join(patterns)})(?:\.\w+)?")  # an image is several keys


def test_every_key_that_a_run_logs_is_in_the_tables_of_the_documents(study: Path) -> None:
    keys, config = documented("Keys"), documented("What a study is in W&B")
    single = yaml.safe_load((REPOSITORY / "conf" / "run.yaml").read_text()).keys()
    for run in study.iterdir():
        found = logged(run)
        known = {key for key in found["history"] | found["summary"] if keys.fullmatch(key)}
        own = {key for key in found["history"] | found["summary"] if key.startswith("_")}  # W&B's
        assert found["history"] | found["summary"] == known | own | {"trainer/global_step"}
        words = {word for word in found["config"] if config.fullmatch(word)}
        assert found["config"] - single - {"_wandb"} == words - single


def logged_by_hand(folder: Path, wandb_id: str | None, **changes: Any) -> None:
    """A run's folder with what a report asks for."""
    a_folder(folder, wandb_id=wandb_id)
    config: dict[str, Any] = {
        "seed": 0,
        "logger": {"mode": "offline", "project": "mine", "entity": None, "tags": []},
        "study": {"name": "both"},
        "axes": {"pathology": "vanishing", "remedy": "relu"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config | changes, sort_keys=False))


def test_seeds_of_one_configuration_are_one_curve_with_its_spread(tmp_path: Path) -> None:
    for remedy in ("none", "relu"):
        for seed in (0, 1):
            axes = {"pathology": "vanishing", "remedy": remedy}
            logged_by_hand(tmp_path / f"{remedy}{seed}", f"{remedy}{seed}", seed=seed, axes=axes)
    for config in panels(definition(make_report(read_study(tmp_path))), "Run History Line Plot"):
        assert config["groupBy"] == "remedy.value"
        assert (config["groupAgg"], config["groupArea"]) == ("mean", "stddev")


def test_a_dotted_key_is_found_below_settings(tmp_path: Path) -> None:
    for depth in (8, 20):
        for seed in (0, 1):
            run, model = f"{depth}-{seed}", {"depth": depth}
            logged_by_hand(tmp_path / run, run, seed=seed, model=model)
    sent = definition(make_report(read_study(tmp_path)))
    assert sent["description"] == "4 runs, which differ in model.depth, seed."
    columns = grids(sent)[0]["runSets"][0]["runFeed"]["columnOrder"]
    assert "config:settings.value.model.depth" in columns
    (grouped,) = {config["groupBy"] for config in panels(sent, "Run History Line Plot")}
    assert grouped == "settings.value.model.depth"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wandb_id": None}, "none of its runs was logged to W&B (logger=none)"),
        ({"study": None}, "a report takes the runs of one study, in one W&B project"),
        ({"study": {"name": "other"}}, "a report takes the runs of one study, in one W&B project"),
    ],
)
def test_what_is_no_logged_study_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    wandb_id = change.pop("wandb_id", "abc")
    if change.get("study"):
        logged_by_hand(tmp_path / "first", "def")
    logged_by_hand(tmp_path / "second", wandb_id, **change)
    with pytest.raises(ConfigError) as refused:
        read_study(tmp_path)
    assert str(refused.value) == f"{tmp_path}: {message}"


class Server(ThreadingHTTPServer):
    """Answers what the library asks, knows the runs in `ids`, and notes each mutation."""

    def __init__(self, ids: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.ids = ids
        self.mutations: list[dict[str, Any]] = []
        self.filters: list[Any] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/graphql":
            return self._send(404, {})
        request = json.loads(body)
        return self._send(200, {"data": self._data(request["query"], request.get("variables"))})

    def do_GET(self) -> None:
        self._send(404, {})

    def _data(self, query: str, variables: Any) -> dict[str, Any]:
        last = {"endCursor": None, "hasNextPage": False}
        if "upsertView(" in query:
            self.server.mutations.append(variables)
            project = {"id": "1", "name": "gradflow", "entityName": variables["entityName"]}
            view = {"id": "Vmlldzox", "name": "n", "displayName": "d", "description": ""}
            return {"upsertView": {"view": view | {"project": project, "spec": variables["spec"]}}}
        if "models(" in query:
            node = {"id": "1", "name": "gradflow", "entityName": "me", "isBenchmark": False}
            node |= {"createdAt": "2026-01-01T00:00:00", "user": None}
            return {"models": {"edges": [{"node": node, "cursor": "c"}], "pageInfo": last}}
        if "runs(" in query:
            self.server.filters.append(json.loads(variables["filters"]))
            nodes = [
                {"id": wandb_id, "name": wandb_id, "displayName": "", "state": "finished"}
                | {"projectId": "1", "createdAt": "2026-01-01T00:00:00", "tags": [], "user": {}}
                for wandb_id in self.server.ids
            ]
            edges = [{"node": node, "cursor": "c"} for node in nodes]
            return {"project": {"runCount": len(edges), "runs": {"edges": edges, "pageInfo": last}}}
        return {"viewer": {"id": "u", "entity": "me", "username": "me"}}

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        written = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(written)))
        self.end_headers()
        self.wfile.write(written)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(study: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """A server that has both runs of `study`, and an account on it."""
    with Server(read_study(study).ids) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "local" + "0" * 40)
        for kind in ("DATA", "CACHE", "CONFIG"):
            monkeypatch.setenv(f"WANDB_{kind}_DIR", str(tmp_path / "wandb_files"))
        yield server
        server.shutdown()
        wandb.teardown()


def test_the_definition_is_what_the_library_sends(study: Path, server: Server) -> None:
    report = make_report(read_study(study), "me")
    wanted = definition(report)
    report.save()
    (sent,) = server.mutations
    assert sent.pop("name")  # a random one
    sent["spec"] = json.loads(sent["spec"])
    assert wanted == sent
    assert json.loads(json.dumps(wanted)) == wanted


def test_a_report_of_runs_on_the_server_is_sent_and_its_address_returned(
    study: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    address = send(read_study(study))
    assert address == f"{server.url}/me/gradflow/reports/Study-{NAME}--Vmlldzox"
    (sent,) = server.mutations
    assert (sent["entityName"], sent["displayName"]) == ("me", f"Study {NAME}")
    (query,) = server.filters
    assert set(query["name"]["$in"]) == {
        status.wandb_id for run in study.iterdir() if (status := Status.read(run))
    }
    assert "not on the server" not in capsys.readouterr().err


def test_runs_missing_on_the_server_are_reported_with_the_sync_command(
    study: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.ids = server.ids[:1]
    send(read_study(study))
    command = f"wandb sync {study}/*/wandb/offline-run-*"
    message = f"1 of 2 runs of study {NAME} are not on the server"
    assert f"{message}; they will show after: {command}\n" in capsys.readouterr().err
    server.ids = []
    with pytest.raises(ConfigError) as refused:
        send(read_study(study))
    assert str(refused.value) == f"2 of 2 runs of study {NAME} are not on the server: {command}"
    assert len(server.mutations) == 1


def report(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script as typed, with no account but what `environment` has, and nobody to ask."""
    command = [sys.executable, str(REPOSITORY / "scripts" / "report.py"), *map(str, words)]
    others = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    return subprocess.run(
        command, env=others | environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def test_the_definition_is_written_without_an_account_or_a_network(
    study: Path, tmp_path: Path
) -> None:
    nowhere = {"HOME": str(tmp_path), "WANDB_BASE_URL": "http://127.0.0.1:9"}
    done = report(study, "--definition", "-", **nowhere)
    assert done.returncode == 0, done.stderr
    written = report(study, "--definition", tmp_path / "report.json", **nowhere)
    assert (written.returncode, written.stdout) == (0, "")
    for text in (done.stdout, (tmp_path / "report.json").read_text()):
        assert json.loads(text)["displayName"] == f"Study {NAME}"


def test_without_a_key_one_line_says_how_to_get_one(study: Path, tmp_path: Path) -> None:
    done = report(study, HOME=str(tmp_path), WANDB_BASE_URL="http://127.0.0.1:9")
    assert done.returncode == 2
    assert done.stderr == "error: http://127.0.0.1:9: no API key; `wandb login` asks for one\n"


def test_without_a_server_one_line_names_what_still_works(study: Path, tmp_path: Path) -> None:
    server = "http://127.0.0.1:9"
    key = "local" + "0" * 40
    account = {"WANDB_BASE_URL": server, "WANDB_API_KEY": key, "WANDB_HTTP_TIMEOUT": "2"}
    done = report(study, HOME=str(tmp_path), **account)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {server}: ")
    assert line.endswith("; --definition FILE needs no server")


def test_without_the_extra_one_line_says_how_to_install_it(study: Path, tmp_path: Path) -> None:
    (tmp_path / "wandb_workspaces.py").write_text("raise ModuleNotFoundError(name=__name__)")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = report(study, "--definition", "-", PYTHONPATH=path)
    assert done.returncode == 2
    assert done.stderr == (
        "error: a report needs the package wandb-workspaces: uv pip install -e '.[report]'\n"
    )
