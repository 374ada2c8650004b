"""Boxes: on which side of the patient one lies, in a film as it is usually hung."""

from collections.abc import Iterable


def side_of(left_edge: float, right_edge: float, width: float) -> str:
    """The patient's side, by the box's centre and the film's middle; empty for a centre in the middle.

    A film is hung as if the patient looked at us: the left half of the image is the patient's right.

    >>> side_of(100, 200, width=1024)
    'right'
    """
    centre, middle = (left_edge + right_edge) / 2, width / 2
    if centre == middle:
        return ""
    return "right" if centre < middle else "left"


def joined(sides: Iterable[str]) -> str:
    """One word for several sides; empty where there is none.

    >>> joined(["left", "right"]), joined(["left", ""])
    ('both', 'left')
    """
    found = {side for side in sides if side}
    return found.pop() if len(found) == 1 else "both" if found else ""
