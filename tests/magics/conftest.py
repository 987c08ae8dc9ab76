from __future__ import annotations

import atexit

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.profiledir import ProfileDir
from traitlets.config import Config


@pytest.fixture
def shell(tmp_path):
    """A real IPython shell that keeps no history."""
    config = Config(HistoryManager={"enabled": False}, InteractiveShell={"colors": "nocolor"})
    shell = InteractiveShell.instance(
        config=config,
        ipython_dir=str(tmp_path),
        profile_dir=ProfileDir.create_profile_dir(str(tmp_path)),
    )
    yield shell
    shell.restore_sys_module_state()
    shell.atexit_operations()
    # It would run again at the end of the tests, and cannot.
    atexit.unregister(shell.atexit_operations)
    InteractiveShell.clear_instance()
