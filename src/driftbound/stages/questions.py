"""Questions: what a recipe asks whom, in which order; noted in the streams before anything is sent."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import lru_cache

from driftbound.errors import CaseError, ConfigError, TeacherError
from driftbound.protocols import Telling
from driftbound.records import Case, Request
from driftbound.stages import roster
from driftbound.stages.context import Context
from driftbound.stances import disclosed
from driftbound.store import attempts, wanted
from driftbound.store.attempts import Noted
from driftbound.store.images import read_image
from driftbound.store.streams import Streams
from driftbound.store.wanted import CaseContent, Wanted
from driftbound.teacher_config import TeacherConfig
from driftbound.teachers.requests import params_json, request_hash

CASES_IN_MEMORY = 128
"""Cases whose images are kept while several teachers are asked about them."""


class Questions:
    """The requests of a recipe's round, by teacher and place."""

    def __init__(self, context: Context, cases: Sequence[Case], streams: Streams) -> None:
        """Notes what is wanted. Raises ``CaseError`` for an image that is missing."""
        self._context = context
        self._streams = streams
        self._wave = context.asking.wave
        self._told = _told(context, cases)
        self.cases = [case for place, case in enumerate(cases) if self._asked(place, case)]
        self._contents = self._read()
        wanted.remember(streams, self._contents)
        every = (each for teacher in context.recipe.teachers for each in self._of(teacher))
        wanted.want(streams, every, wave=self._wave)
        self._request = lru_cache(maxsize=CASES_IN_MEMORY)(self._with_images)

    def left(self, teacher: str) -> Sequence[int]:
        """Places of a teacher's requests without a final answer, in the order of asking."""
        return wanted.left(self._streams, teacher, wave=self._wave)

    def count(self, teacher: str) -> int:
        """How many requests there are for a teacher, answered ones too."""
        return wanted.count(self._streams, teacher, wave=self._wave)

    def at(self, teacher: str, place: int) -> Request:
        """The request at a place, with its images. Raises ``CaseError`` for an unreadable or changed one."""
        found = wanted.at(self._streams, teacher, place, wave=self._wave)
        content, images = self._request(place % len(self.cases))
        return Request(
            case=content.case,
            question=self._question(teacher, content),
            images=images,
            request_hash=found.request_hash,
            sample=found.sample,
            wave=found.wave,
            prompt_discloses=found.prompt_discloses,
        )

    def discloses(self, noted: Noted) -> str | None:
        """What the prompt of an attempt gave away; ``None`` where it asked what this recipe does not ask."""
        return wanted.discloses(self._streams, noted)

    def _asked(self, place: int, case: Case) -> bool:
        asking = self._context.asking
        if asking.wave and not self._chosen(case, "anchor", self._context.recipe.collect.anchors.share):
            return False
        return place % asking.shards == asking.shard

    def _chosen(self, case: Case, purpose: str, share: float) -> bool:
        """Whether a case is one of a share of all: the same cases for the same seed."""
        key = f"{purpose}/{self._context.recipe.seed}/{case.case_id}".encode()
        return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") < share * 2**64

    def _read(self) -> list[CaseContent]:
        names = sorted({name for case in self.cases for name in case.images})
        hashes = wanted.image_hashes(self._streams, self._context.folder.root, names)
        domain = self._context.domain
        telling = domain if self._told and isinstance(domain, Telling) else None
        return [
            CaseContent(
                case=case,
                question=domain.question(case),
                images=tuple(hashes[name] for name in case.images),
                told_question=telling.told_question(case) if telling and case.context else "",
            )
            for case in self.cases
        ]

    def _question(self, teacher: str, content: CaseContent) -> str:
        return (content.told_question if teacher in self._told else "") or content.question

    def _discloses(self, teacher: TeacherConfig, case: Case) -> str:
        """What a teacher's prompt gives away of a case, as its trajectory says it."""
        given: Sequence[str] = ()
        if teacher.name in self._told:
            given = disclosed(case.context)
        elif teacher.prompt == "told":  # a recording: nobody knows what of the labels its prompts left out
            field = self._context.domain
            given = disclosed({name: "both" if name in field.sided else "" for name in field.findings})
        return json.dumps(given) if given else ""

    def _of(self, teacher: TeacherConfig) -> Iterator[Wanted]:
        """A teacher's requests: sample 0 of all cases first, so that an early end leaves whole cases.

        A recorded teacher has no part in a later wave: its file would only say the same once more.
        """
        if self._wave and teacher.kind == "recorded":
            return
        collect = self._context.recipe.collect
        params = params_json(roster.settings(self._context, teacher))
        repeats = collect.repeats if teacher.kind != "recorded" else None
        samples = [
            max(
                teacher.samples,
                repeats.samples if repeats and self._chosen(each.case, "repeat", repeats.share) else 1,
            )
            for each in self._contents
        ]
        discloses = [self._discloses(teacher, each.case) for each in self._contents]
        for sample in range(1 if self._wave else max(samples, default=0)):
            for index, content in enumerate(self._contents):
                if sample < samples[index]:
                    images = content.images if teacher.images.mode != "none" else ()
                    yield Wanted(
                        teacher=teacher.name,
                        place=sample * len(self._contents) + index,
                        case_id=content.case.case_id,
                        sample=sample,
                        wave=self._wave,
                        request_hash=request_hash(
                            teacher.model, params, self._question(teacher.name, content), images
                        ),
                        prompt_discloses=discloses[index],
                    )

    def _with_images(self, index: int) -> tuple[CaseContent, tuple[bytes, ...]]:
        content = self._contents[index]
        root = self._context.folder.root
        images = tuple(read_image(root / name) for name in content.case.images)
        for name, image, noted in zip(content.case.images, images, content.images, strict=True):
            if hashlib.sha256(image).hexdigest() != noted:
                wanted.forget_image(self._streams, name)
                raise CaseError(
                    f"{root / name}: has changed since its requests were noted. Run again to ask about it as "
                    "it is now; what was collected stays."
                )
        return content, images


def _told(context: Context, cases: Sequence[Case]) -> frozenset[str]:
    """Teachers that are told the cases' context; raises ``ConfigError`` where there is nothing to tell."""
    told = [each for each in context.recipe.teachers if each.prompt == "told" and each.kind != "recorded"]
    if told and not isinstance(context.domain, Telling):
        raise ConfigError(
            f"{told[0].name}: prompt: told: the field {context.domain.name!r} has no question that tells "
            "labels. Leave prompt out."
        )
    if told and not any(case.context for case in cases):
        raise ConfigError(
            f"{told[0].name}: prompt: told: no case has labels that may be disclosed. Set "
            "domain.data.context: true and start a new run (the labels then lie in cases.parquet, too), "
            "or leave prompt out."
        )
    return frozenset(each.name for each in told)


def refuse_waiting(streams: Streams) -> None:
    """Raise ``TeacherError`` while requests wait in batch files: asked again, they would be paid twice."""
    waiting = attempts.in_batches(streams)
    if waiting:
        told = ", ".join(f"{n} of {teacher}" for teacher, n in waiting.items())
        raise TeacherError(
            f"{streams.path}: requests wait in batch files ({told}). Read their results with "
            "'driftbound collect RECIPE --batch-results FILE', or give them up with --forget-batches."
        )
