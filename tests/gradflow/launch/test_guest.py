"""compose() inside of somebody's own Hydra program leaves that program's Hydra as it was."""

from pathlib import Path

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf
from small_project import CONF

from gradflow.errors import ConfigError
from gradflow.launch.compose import compose
from gradflow.launch.plugins import guest
from gradflow.launch.search_path import NestedFolders


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of configurations with a nested one, as gradflow's search path would take in."""
    (tmp_path / "app.yaml").write_text("host: ${now:x}\nother: ${gradflow.product:2,3}\n")
    nested = tmp_path / "nested" / "group"
    nested.mkdir(parents=True)
    (nested / "a.yaml").write_text("a: 1\n")
    # Other tests of this process run jobs, which register it for good.
    known = Plugins.instance().plugin_type_to_subclass_list
    others = [plugin for plugin in known[SearchPathPlugin] if plugin is not NestedFolders]
    monkeypatch.setitem(known, SearchPathPlugin, others)
    return tmp_path


@pytest.mark.parametrize("overrides", [["lr=0.5"], ["nosuch=1"], ["activation=[[]]"]])
def test_the_hosts_hydra_resolvers_and_plugins_are_as_they_were(
    host: Path, overrides: list[str]
) -> None:
    with hydra.initialize_config_dir(str(host), version_base="1.3"):
        OmegaConf.register_new_resolver("now", lambda text: f"the host's {text}", replace=True)
        OmegaConf.register_new_resolver("gradflow.product", lambda a, b: "host", replace=True)
        composed = hydra.compose("app", return_hydra_config=True)
        HydraConfig.instance().set_config(composed)
        running, config = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
        plugins = Plugins.instance().discover(SearchPathPlugin)
        try:
            assert compose(overrides, CONF).lr == 0.5
        except ConfigError:
            assert overrides != ["lr=0.5"]
        assert GlobalHydra.instance().hydra is running
        assert HydraConfig.instance().cfg is config
        assert Plugins.instance().discover(SearchPathPlugin) == plugins
        again = hydra.compose("app")
        assert again.host == "the host's x"
        assert again.other == "host"
    assert not GlobalHydra.instance().is_initialized()
    with hydra.initialize_config_dir(str(host), version_base="1.3"):
        assert hydra.compose("app", ["+group=a"]).group == "a"  # a word, and no file's content
    HydraConfig.instance().cfg = None
    OmegaConf.clear_resolver("gradflow.product")


def test_inside_of_the_block_groups_in_nested_folders_are_found(host: Path) -> None:
    with guest(), hydra.initialize_config_dir(str(host), version_base="1.3"):
        assert hydra.compose("app", ["+group=a"]).group == {"a": 1}
