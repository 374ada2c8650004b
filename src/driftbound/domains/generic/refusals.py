"""Refusals: texts of any field that decline to answer, and those that speak of other answers."""

import re

from driftbound.domains.generic import cues
from driftbound.domains.generic.steps import lowered, steps

PANELIST = "Panelist"
"""What ``merge_question`` calls the one who gave an answer: a word that few answers use."""

_ACTS = (
    r"(?:interpret|provide|assist|help|analy[sz]e|diagnose|answer|comply|fulfil+|process|offer|give|engage"
    r"|discuss|do (?:that|this)"
    r"|(?:see|view|read|identify|examine|evaluate|assess|review|describe)(?: \w+){0,2}"
    r" (?:images?|pictures?|photos?|films?|radiographs?|x-rays?|scans?|people|persons?|individuals?|files?))"
)
"""What is declined. "I cannot see any effusion" is an answer, "I cannot see images" is none."""
_DECLINES = re.compile(
    r"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b|\b(?:i(?:['’]m| am)|we(?:['’]re"
    r"| are))"
    rf" (?:not (?:able|allowed|permitted|qualified)|unable) to (?:\w+ly )?{_ACTS}\b|\b(?:i|we) (?:cannot"
    r"|can['’]t"
    rf"|can not|won['’]t|will not|must decline to|am not going to) (?:\w+ly )?{_ACTS}\b"
    r"|\bunable to (?:assist|help"
    r"|comply|interpret|provide)\b|\bi(?:['’]m| am)? (?:must |have to )?(?:decline|refuse)\b"
    r"|\bi(?:['’]m| am) not a (?:doctor|physician|radiologist|medical|lawyer|licensed)"
)
_BESIDE = re.compile(
    r"\bsorry\b|\bapologi[sz]e\b|\bplease\b|\bconsult\w*\b|\bprofessional\b|\bqualified\b|\brecommend\w*\b"
    r"|\bshould be asked\b|\bif you (?:have|need|want|can|could|would)\b|\bfeel free\b|\bunderstand\b"
)
"""In a sentence that only goes along with a refusal."""
_BUT = re.compile(r"[,;:—–]?\s*\b(?:but|however|nevertheless|still|that said)\b[\s,]*")
_ANSWERS = re.compile(
    r"\b(?:answer|option|choice|diagnosis|finding)s?\b[\s*_\"']{0,4}(?::|=|is\b)|\\boxed|\{\s*\""
)
_FEW = 8
"""Words that a refusal may have beside it; more are an answer with a disclaimer."""
_SOURCES = re.compile(rf"\b{PANELIST}s?\b", re.IGNORECASE)


def is_refusal(text: str) -> bool:
    """Whether a text declines to answer, and does not answer all the same.

    What is said beside the refusal (an apology, advice, what holds in general) is no answer.

    >>> is_refusal("I'm sorry, I can't help with medical images. Please consult a doctor.")
    True
    >>> is_refusal("I cannot give medical advice, but there is a small effusion on the left with some fluid.")
    False
    """
    low = lowered(text)
    declined, answered = False, 0
    for start, end in steps(text):
        step = low[start:end]
        refusing = _DECLINES.search(step)
        if refusing:
            declined = True
            answered += _FEW * bool(_ANSWERS.search(step, refusing.end()))
            but = _BUT.search(step, refusing.end())
            step = step[but.end() :] if but else ""
            step = "" if _DECLINES.search(step) else step
        if _BESIDE.search(step) or cues.SILENT.search(step):
            continue
        if _ANSWERS.search(step):
            answered += _FEW
        answered += len(step.split())
    return declined and answered < _FEW


def mentions_sources(text: str) -> bool:
    """Whether a text speaks of the answers that ``merge_question`` puts before the student.

    >>> mentions_sources("Panelist 2 sees edema."), mentions_sources("Edema: present.")
    (True, False)
    """
    return _SOURCES.search(text) is not None
