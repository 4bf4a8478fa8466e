"""What every script's command line shares: a user's mistake is one line, not a traceback."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from gradflow.config.errors import ConfigError, one_line


def run(main: Callable[[], object]) -> None:
    """Call `main`; exit with 2 after one line for what the user can mend, 130 when interrupted.

    Any other error keeps its traceback.
    """
    # Hydra would otherwise print its errors itself, over several lines, and exit.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from gradflow.data import DataError
    from gradflow.training.status import RunBusyError

    try:
        main()
    except (ConfigError, DataError, RunBusyError) as error:
        _leave(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        _leave(one_line(error))
    except ValueError as error:
        if not _is_raised_in_hydra(error):
            raise
        _leave(one_line(error))
    except KeyboardInterrupt:
        print("interrupted; the same command line continues a study", file=sys.stderr)
        sys.exit(130)


def _is_raised_in_hydra(error: BaseException) -> bool:
    """Some of Hydra's own refusals, such as of `model=null`, are no HydraException."""
    where = traceback.extract_tb(error.__traceback__)[-1].filename
    return f"{os.sep}hydra{os.sep}" in where


def _leave(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
