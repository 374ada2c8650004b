"""Published figures on MIMIC-CXR (``published.json``), and what a run on it has otherwise."""

import json
from importlib.resources import files
from typing import Any

from driftbound.data_config import DataConfig


def published(data: DataConfig) -> dict[str, Any] | None:
    """The published tables and what of this run is ``here``; ``None`` for other data sets than MIMIC-CXR.

    No protocol is known to be the same, so each table says what ``differs``.
    """
    if data.set != "mimic-cxr":
        return None
    given = files("driftbound.domains.chest_xray") / "published.json"
    found: dict[str, Any] = json.loads(given.read_text(encoding="utf-8"))
    section = "no reports" if data.section == "none" else f"reports by their {data.section}"
    without = ", without the patients of MS-CXR-T" if data.exclude else ""
    return found | {
        "here": f"MIMIC-CXR's own split{without}, the {data.labels} labels with uncertain as "
        f"{data.uncertain_as} and missing as {data.blank_as}, {section}, this run's own questions"
    }
