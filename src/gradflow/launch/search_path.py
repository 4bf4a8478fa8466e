"""Make Hydra search folders of conf/ that hold groups, such as conf/lab, like conf/ itself.

So related groups lie in one folder and can be deleted together. Their choices are selected like any
others: `pathology=vanishing` finds conf/lab/pathology/vanishing.yaml.
"""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin


class NestedFolders(SearchPathPlugin):
    """Append each folder of the main configuration folder that has subfolders."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append them for the folder that the program named as its own."""
        for element in list(search_path.get_path()):
            main = Path(str(element.path).removeprefix("file://"))
            if element.provider != "main" or not main.is_dir():
                continue
            for folder in sorted(path for path in main.iterdir() if path.is_dir()):
                if any(inner.is_dir() for inner in folder.iterdir()):
                    search_path.append(provider=folder.name, path=f"file://{folder}")


def register() -> None:
    """Register the plugin with Hydra; may be called again."""
    Plugins.instance().register(NestedFolders)
