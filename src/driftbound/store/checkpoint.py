"""Checkpoint folders judged by their files alone: what would stop a training, found before it is needed."""

import json
import re
from pathlib import Path
from typing import Any

from driftbound.errors import ModelError
from driftbound.store.manifest import one_line

_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def is_hub_name(name: str) -> bool:
    """Whether a name is ``owner/model`` on a hub rather than a path here.

    What is there, or lies in a folder that is there, is a path, however it is spelt.

    >>> is_hub_name("Qwen/Qwen3-VL-2B"), is_hub_name("./student"), is_hub_name("~/student")
    (True, False, False)
    """
    if not _HUB_NAME.fullmatch(name):
        return False
    return not Path(name).exists() and not Path(name).parent.is_dir()


def check_checkpoint(name: str) -> None:
    """Raise ``ModelError`` for a folder that cannot be loaded as a student; a hub name passes unseen.

    Looked for are ``config.json`` and a chat template where a processor finds it: in a file of its
    own or in ``processor_config.json``.
    """
    if is_hub_name(name):
        return
    folder = Path(name)
    if not (folder / "config.json").is_file():
        raise ModelError(f"{name}: no checkpoint (config.json is missing). Name a checkpoint folder.")
    _table(folder / "config.json")
    if (folder / "chat_template.jinja").is_file():
        return
    tables = [folder / "chat_template.json", folder / "processor_config.json"]
    if any(_table(path).get("chat_template") for path in tables if path.is_file()):
        return
    raise ModelError(
        f"{name}: its processor has no chat template. Add chat_template.jinja to the checkpoint."
    )


def _table(path: Path) -> dict[str, Any]:
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path}: cannot be read ({one_line(error)}). Download the checkpoint again."
        ) from error
    if not isinstance(given, dict):
        raise ModelError(f"{path}: holds no table. Download the checkpoint again.")
    return given
