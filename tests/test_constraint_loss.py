"""Weights in the loss: a tiny model in float64 against the formula, written once more and slowly."""

import math

import pytest
import torch
from ones import ones
from PIL import Image

from driftbound.consensus.constraints import group_of
from driftbound.domains.phantom.claims import claims
from driftbound.learning import models
from driftbound.learning.architecture import build_model, build_processor, train_tokenizer
from driftbound.learning.collator import Candidate, Example, MultiStreamCollator
from driftbound.learning.goals import Alignment
from driftbound.learning.logprobs import score
from driftbound.learning.reference import reference_logps
from driftbound.records import Belief, Case, Status, Trajectory

QUESTION = "What is seen here?"
CONSENSUS = "Edema: absent. Effusion: left."
SAY = {"a": "There is edema. Effusion on the left.", "b": "No edema, no effusion.", "c": "It may be edema."}
BETA = 0.3
WEIGHTS = ones(conflicting=1.5, agreed=0.0, undecided=0.5, silent=0.25, end=0.75)
WRONG = {("Edema", "presence"): {"a": 0.9, "b": 0.3, "c": 0.6}}


@pytest.fixture(scope="module")
def student():
    """A LLaVA of some random parameters in float64."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer([QUESTION, CONSENSUS, *SAY.values()], 300)
    model = build_model(tokenizer, width=48, layers=1, vision_width=32)
    return models.Student(model.double().eval(), build_processor(tokenizer))


@pytest.fixture(scope="module")
def reference(student):
    """Another policy of the same make."""
    torch.manual_seed(1)
    return build_model(student.processor.tokenizer, width=48, layers=1, vision_width=32).double().eval()


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "a.png"
    Image.new("L", (64, 64), 90).save(path)
    return path


def group(config, teachers="abc"):
    case = Case(case_id="c1", cluster="p", split="train", prompt="", images=())
    given = {n: Trajectory(case_id="c1", teacher=n, status=Status.OK, text=text) for n, text in SAY.items()}
    beliefs = {
        slot: Belief(values={"present": 0.1, "absent": 0.9}, decided="absent", votes={}, wrong=wrong)
        for slot, wrong in WRONG.items()
    }
    return group_of(case, CONSENSUS, 1.0, given, list(teachers), claims, beliefs, config)


def example(group, image):
    rivals = (
        Candidate(text=n.text, log_weight=math.log(n.weight), spans=n.spans, end_weight=n.end_weight)
        for n in group.negatives
    )
    first = Candidate(text=group.consensus, spans=group.spans)
    return Example(case_id="c1", question=QUESTION, images=(image,), candidates=(first, *rivals))


def token_logps(model, processor, image, text):
    """Log-probability of each token of one answer, end token included: one conversation, one forward."""
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}
    prompt = processor.apply_chat_template([message], add_generation_prompt=True)
    picture = Image.open(image).convert("RGB")
    whole = prompt + text + processor.tokenizer.eos_token
    given = processor(text=[whole], images=[picture], return_tensors="pt")
    start = processor(text=[prompt], images=[picture], return_tensors="pt")["input_ids"].shape[1]
    given["pixel_values"] = given["pixel_values"].double()
    ids = given["input_ids"][0]
    logps = model(**given).logits[0].log_softmax(-1)
    return torch.stack([logps[t - 1, ids[t]] for t in range(start, len(ids))])


def pieces_weigh(student, pieces, end):
    """Token weights of a text that a person has cut and weighed."""
    encode = student.processor.tokenizer
    each = [w for piece, w in pieces for _ in encode(piece, add_special_tokens=False)["input_ids"]]
    return torch.tensor([*each, end], dtype=torch.float64)


def slow_loss(student, reference, image, texts, omegas, weights):
    """-log of the formula's fraction, exponentials and all."""
    rewards = []
    for text, omega in zip(texts, omegas, strict=True):
        own = token_logps(student.model, student.processor, image, text)
        with torch.no_grad():
            other = token_logps(reference, student.processor, image, text)
        rewards.append(BETA * (omega * (own - other)).sum())
    first = rewards[0].exp()
    rest = sum(w * r.exp() for w, r in zip(weights, rewards[1:], strict=True))
    return -(first / (first + rest)).log()


def our_loss(student, reference, image, group, row_tokens=0):
    collate = MultiStreamCollator(processor=student.processor, max_length=512, row_tokens=row_tokens)
    batch = collate([example(group, image)])
    for name in ("pixel_values", "token_weights", "log_weights"):
        batch[name] = batch[name].double()
    with torch.no_grad():
        batch["reference"] = score(reference, batch).logps
    goal = Alignment(
        objective="plackett_luce", beta=BETA, anchor=0.0, length_normalised=False, teachers=("a", "b", "c")
    )
    return goal(score(student.model, batch), batch)[0]


def gradients(student, loss):
    student.model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in student.model.named_parameters() if p.grad is not None}


def assert_same_loss_and_gradients(student, ours, slow):
    assert ours.item() == pytest.approx(slow.item(), rel=1e-6)
    found, wanted = gradients(student, ours), gradients(student, slow)
    assert set(found) == set(wanted)
    largest = max(float(value.abs().max()) for value in wanted.values())
    for name, value in wanted.items():  # some, as a key's bias, are 0 but for rounding
        allowed = 1e-6 * float(value.abs().max()) + 1e-12 * largest
        assert float((found[name] - value).abs().max()) <= allowed, name


@pytest.mark.parametrize("row_tokens", [0, 512])
def test_weights_of_one_are_the_papers_loss(student, reference, image, row_tokens):
    """Loss and every gradient, whether an answer has a row of its own or shares one."""
    texts = [CONSENSUS, *SAY.values()]
    slow = slow_loss(student, reference, image, texts, [1.0] * 4, [1.0] * 3)
    assert_same_loss_and_gradients(
        student, our_loss(student, reference, image, group(ones()), row_tokens), slow
    )


OMEGAS = (
    ((CONSENSUS, 1.0),),
    (("There is edema.", 1.5), (" Effusion on the left.", 0.0)),
    (("No edema", 0.0), (", no effusion.", 1.5)),
    (("It may be edema.", 0.5),),
)
"""By hand: edema is absent and effusion on the left. A comma goes with the claim that it leads to."""


def test_weights_per_token_and_per_trajectory_are_the_formula(student, reference, image):
    """w by hand: e of 0.9, 0.3, 0.6 over their mean 0.6."""
    made = group(WEIGHTS.model_copy(update={"trajectory": True, "confidence": True}))
    omegas = [pieces_weigh(student, pieces, 0.75) for pieces in OMEGAS]
    edema = pieces_weigh(student, (("Edema: absent.", 0.8), (" Effusion: left.", 1.0)), 1.0)
    texts = [CONSENSUS, *SAY.values()]
    slow = slow_loss(student, reference, image, texts, [edema, *omegas[1:]], [1.5, 0.5, 1.0])
    assert_same_loss_and_gradients(student, our_loss(student, reference, image, made), slow)


def test_teachers_in_another_order_give_the_same_loss(student, reference, image):
    config = WEIGHTS.model_copy(update={"trajectory": True})
    one, other = (our_loss(student, reference, image, group(config, order)) for order in ("abc", "cab"))
    assert_same_loss_and_gradients(student, one, other)


def test_a_token_of_weight_zero_has_no_gradient(student, reference, image):
    """Where all of a text weighs nothing its reward is 0, and nothing of it moves the model.

    Then a group still raises its consensus, against a constant: log(1 + 3 exp(-r_0)).
    """
    none = group(ones(conflicting=0, agreed=0, undecided=0, silent=0, end=0))
    collate = MultiStreamCollator(processor=student.processor, max_length=512)
    batch = collate([example(none, image)])
    batch["pixel_values"] = batch["pixel_values"].double()
    scores = score(student.model, batch)
    for k in (1, 2, 3):
        assert scores.logps[0, k].item() == 0.0
        assert float(scores.plain[0, k]) < -10
    student.model.zero_grad()
    scores.logps[0, 1:].sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in student.model.parameters())
    own = token_logps(student.model, student.processor, image, CONSENSUS)
    with torch.no_grad():
        other = token_logps(reference, student.processor, image, CONSENSUS)
    alone = torch.log1p(3 * torch.exp(-BETA * (own - other).sum()))
    assert_same_loss_and_gradients(student, our_loss(student, reference, image, none), alone)


def test_the_reference_is_weighed_as_the_policy_is_and_knows_the_plain_consensus(student, image, tmp_path):
    """Its stored sums are those of the weights; other weights, of end tokens too, are other lines."""
    collate = MultiStreamCollator(processor=student.processor, max_length=512)

    def stored(config):
        plain: dict[str, float] = {}
        given = [example(group(config), image)]
        path = tmp_path / "reference.jsonl"
        model = student.model.float()
        try:
            found = reference_logps(model, collate, given, batch_size=1, path=path, plain=plain)
        finally:
            student.model.double()
        return found["c1"], plain["c1"], len(path.read_text().splitlines())

    with torch.no_grad():
        each = [token_logps(student.model, student.processor, image, text) for text in (CONSENSUS, SAY["a"])]
    unweighed, plain, lines = stored(ones())
    assert lines == 1
    assert unweighed[0] == pytest.approx(plain, abs=1e-3)
    assert unweighed[0] == pytest.approx(float(each[0].sum()), abs=1e-3)
    weighed, same, lines = stored(WEIGHTS.model_copy(update={"confidence": True}))
    assert lines == 2
    assert same == pytest.approx(plain, abs=1e-3)
    edema = pieces_weigh(student, (("Edema: absent.", 0.8), (" Effusion: left.", 1.0)), 1.0)
    assert weighed[0] == pytest.approx(float((edema * each[0]).sum()), abs=1e-3)
    omega = pieces_weigh(student, OMEGAS[1], 0.75)
    assert weighed[1] == pytest.approx(float((omega * each[1]).sum()), abs=1e-3)
    assert stored(ones(end=0.5))[2] == 3
    assert stored(ones(end=0.5))[2] == 3
