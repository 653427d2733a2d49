"""Where hosts differ from what the playbooks say, while drift.yml runs: into a file, which drift.yml then judges."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: drift
    type: aggregate
    short_description: lists what would change
    description: Writes a line for each task of drift.yml that would change a host into the file that BUCIUM_DRIFT names.
    requirements: [enable in configuration]
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "drift"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._path: Path | None = None

    def v2_playbook_on_start(self, playbook: Any) -> None:
        if Path(playbook._file_name).name == "drift.yml" and os.environ.get("BUCIUM_DRIFT"):
            self._path = Path(os.environ["BUCIUM_DRIFT"])
            self._path.write_text("")

    def v2_runner_on_ok(self, result: Any) -> None:
        if self._path is None or not result.is_changed():
            return
        with self._path.open("a") as file:
            file.write(f"{result._host.get_name()}: {result._task.get_name()}\n")
