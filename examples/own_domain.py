"""A field of your own in 60 lines: leaves that have rust, or mildew, or neither."""

import random
from pathlib import Path

from PIL import Image, ImageDraw

from driftbound.config import DomainConfig
from driftbound.domain_config import ClaimsConfig
from driftbound.domains.generic.domain import GenericDomain
from driftbound.records import Case
from driftbound.store.tables import write_cases, write_truth

WORDS = {"Rust": ("rust", "orange spots"), "Mildew": ("mildew", "white film")}
"""Finding -> what it is called in texts."""
PROMPT = "Is there rust or mildew on this leaf?"


class Leaves(GenericDomain):
    """Texts are read, and asked for, as the field ``generic`` does it; the cases are drawn here."""

    name = "leaves"

    def __init__(self, config: DomainConfig, seed: int) -> None:
        claims = ClaimsConfig(kind="labelled", findings=WORDS)
        super().__init__(config.model_copy(update={"claims": claims}), seed)

    def inputs(self) -> dict[str, str]:
        """No file has a part in the cases: the recipe alone decides them."""
        return {}

    def write_cases(self, folder: Path, truth: Path) -> None:
        """Draw two leaves of each plant, in one split; only the truth's file tells what they have."""
        dice = random.Random(self.seed)
        (folder / "images").mkdir(exist_ok=True)
        splits = [name for name in ("train", "validation", "test") for _ in range(getattr(self.config, name))]
        cases, sick = [], {}
        for number, split in enumerate(splits):
            case_id, image = f"leaf-{number:04}", f"images/leaf-{number:04}.png"
            sick[case_id] = {finding: dice.choice(("present", "absent")) for finding in self.findings}
            leaf(sick[case_id], dice).save(folder / image)
            plant = f"{split}-{number // 2}"
            cases.append(Case(case_id=case_id, cluster=plant, split=split, prompt=PROMPT, images=(image,)))
        write_truth(truth, sick)
        write_cases(folder / "cases.parquet", cases)


def leaf(sick: dict[str, str], dice: random.Random) -> Image.Image:
    """A green leaf, with orange spots for rust and a white film for mildew."""
    image = Image.new("RGB", (128, 128), "lightblue")
    pen = ImageDraw.Draw(image)
    pen.ellipse((34, 8, 94, 120), fill="green")
    for finding, colour, size in (("Rust", "orange", 4), ("Mildew", "whitesmoke", 12)):
        for _ in range(6 if sick[finding] == "present" else 0):
            x, y = dice.randrange(50, 78), dice.randrange(30, 98)
            pen.ellipse((x - size, y - size, x + size, y + size), fill=colour)
    return image
