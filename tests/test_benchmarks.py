"""Benchmarks, small: the work at 7B size is counted as torch counts it; the run of the viewer opens."""

import json
import sys

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import align_step, large, viewer
from driftbound import viewing
from driftbound.learning.packing import branch_mask
from driftbound.viewer.guard import hosts_of
from driftbound.viewer.opened import REJECTED, STATUSES
from driftbound.viewer.web import Site


@pytest.fixture(scope="module")
def bench():
    return large.Bench("cpu", True, checkpointing=False)


@pytest.mark.parametrize("packed", [True, False])
def test_work_of_the_linear_layers_is_what_torch_counts(bench, packed):
    """Forward wholly; backward but for the first layer, whose input needs no gradient.

    torch counts no attention on the CPU, and the head, exact in both, would hide the rest.
    """
    batch = large.batch_of(bench.plain, large.TINY, [0], 10**6 if packed else 0)
    said = large.work(bench.config, large.TINY, 0, packed=packed)
    scored = sum(map(len, large.answers_of(large.TINY, 0)))
    head = 2 * 32 * 152064 * scored
    with FlopCounterMode(display=False) as counter:
        bench.reference(batch)
    decoder = next(n for n in counter.get_flop_counts() if n.endswith("model.language_model"))
    counted = sum(counter.get_flop_counts()[decoder].values())
    padding = batch["input_ids"].numel() - int((batch["segment"] >= 0).sum()) if packed else None
    assert padding in (0, None)
    if packed:
        # rotary positions are a product too in some versions of transformers
        assert counted == pytest.approx(said["reference"] - said["attention"] - head, rel=1e-3)
    else:  # rows are padded to the longest
        assert 1 <= counted / (said["reference"] - said["attention"] - head) < 1.2
    if packed:
        with FlopCounterMode(display=False) as counter:
            bench.train(batch)
        tower = sum(
            sum(ops.values()) for n, ops in counter.get_flop_counts().items() if n.endswith("model.visual")
        )
        counted = counter.get_total_flops() - 2 * head - tower
        wanted = said["forward"] + said["backward"] - 3 * said["attention"] - 2 * head
        assert 0.85 < counted / wanted <= 1


def test_work_of_the_tower_is_what_torch_counts(bench):
    """But for its attention, which torch does not count: 64 patches of 32, whole in one layer of two."""
    with FlopCounterMode(display=False) as counter:
        prompt = large.prompt_of(large.TINY, 0)
        bench.plain.get_image_features(prompt["pixel_values"], image_grid_thw=prompt["image_grid_thw"])
    attention = 4 * 32 * 64 * (64 + 64)  # a window of 8 x 8 patches is all of this image
    linear = large.tower_work(bench.config.vision_config, 64) - attention
    convolution = 2 * 64 * 1176 * 32  # patches are embedded by one, which torch counts too
    assert counter.get_total_flops() in (linear, linear - convolution)


def test_pairs_are_those_of_the_mask(bench):
    batch = large.batch_of(bench.plain, large.TINY, [3], 10**6)
    pairs = int(branch_mask(batch["segment"], batch["branch"]).sum())
    assert large.work(bench.config, large.TINY, 3, packed=True)["attention"] == 4 * 32 * 2 * pairs


def test_it_runs_and_says_what_it_should(tmp_path, monkeypatch, capsys):
    path = tmp_path / "results" / "large.json"
    monkeypatch.setattr(
        sys, "argv", ["large", "--device", "cpu", "--tiny", "--repeats", "1", "--json", str(path)]
    )
    large.main()
    result = json.loads(path.read_text())
    assert json.loads(capsys.readouterr().out) == result
    assert {*result["arms"]} == {"packed", "separate"}
    for arm in result["arms"].values():
        hours = large.CASES_OF_THE_PAPER * arm["training_s"] / 3600
        assert arm["hours_training"] == pytest.approx(hours)
        assert arm["hours_with_reference"] > hours
        assert arm["training_mfu"] == pytest.approx(
            arm["training_flop"] / arm["training_s"] / result["peak_bf16_flops"]
        )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("module", [large, align_step])
def test_without_a_gpu_it_says_so(module, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["it", "--device", "cuda"])
    with pytest.raises(SystemExit) as left:
        module.main()
    assert left.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_viewers_run_opens_and_every_page_of_it(tmp_path):
    """What the benchmark makes is a run as the stages leave it: each page that it asks for is there."""
    viewer.make(tmp_path / "run", 40)
    opened, domain = viewing.open_run(tmp_path / "run")
    site = Site(opened, domain, None, hosts_of("127.0.0.1", 80))
    client = TestClient(site.app(), base_url="http://127.0.0.1")
    for kind, paths in viewer.asked(40).items():
        for path in paths:
            assert client.get(path).status_code == 200, (kind, path)
    assert "refused" in {STATUSES[s] for s in opened.statuses.ravel()}
    assert (opened.consensus == REJECTED).sum() == 2
    assert np.isfinite(opened.conflict).all()
    assert {name: right.count()[1].sum() for name, right in opened.right.items()}["aligned"] == 5 * 5
