"""A labelled contact sheet of the phantoms: `python examples/phantom_sheet.py [docs/pictures/signs.png]`."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from driftbound.config import DomainConfig
from driftbound.domains.phantom.drawing import draw
from driftbound.domains.phantom.findings import SIDED_SIGNS, SIGN_NAMES
from driftbound.domains.phantom.population import population

OUT = Path(__file__).parent.parent / "docs" / "pictures" / "signs.png"
COLUMNS, FILM, LABEL, GAP = 6, 176, 16, 4
GREYS = 48
"""Grey values kept: enough to look at, and noise no longer fills the file."""


def films() -> list[tuple[str, Image.Image]]:
    """The normal film, each sign alone, then six cases of a population, one by the other scanner."""
    normal = dict.fromkeys(SIGN_NAMES, "absent")
    shown = [("no sign", draw(normal, 0))]
    for seed, sign in enumerate(SIGN_NAMES, start=1):
        sided = sign in SIDED_SIGNS
        label = f"{sign}, left" if sided else sign
        shown.append((label, draw(normal | {sign: "left" if sided else "present"}, seed)))
    cases = population(DomainConfig(train=20, validation=0, test=1, test_scanner=20), 0)
    for scanner, count in (("first", 5), ("other", 2)):
        for phantom in [each for each in cases if each.scanner == scanner][:count]:
            said = sum(value != "absent" for value in phantom.findings.values())
            label = f"a case, {said} findings" if scanner == "first" else "a case, other scanner"
            shown.append((label, draw(phantom.signs, phantom.seed, scanner)))
    return shown


def sheet() -> Image.Image:
    """All films side by side, each under its name."""
    shown = films()
    rows = -(-len(shown) // COLUMNS)
    page = Image.new("L", (COLUMNS * (FILM + GAP) - GAP, rows * (FILM + LABEL)))
    pen = ImageDraw.Draw(page)
    for number, (label, film) in enumerate(shown):
        x, y = number % COLUMNS * (FILM + GAP), number // COLUMNS * (FILM + LABEL)
        small = np.asarray(film.resize((FILM, FILM), Image.Resampling.BOX), float)
        coarse = np.rint(small / 255 * (GREYS - 1)) * 255 / (GREYS - 1)
        page.paste(Image.fromarray(np.rint(coarse).astype(np.uint8)), (x, y + LABEL))
        pen.text((x + 2, y + 2), label, fill=255)
    return page


if __name__ == "__main__":
    sheet().save(Path(sys.argv[1]) if len(sys.argv) > 1 else OUT, optimize=True)
