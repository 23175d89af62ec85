"""Flow matching: lines from picture to noise, and back."""

from __future__ import annotations

import pytest
import torch

from model.network.flow_matching import mix, sample_times, schedule, velocity


def test_mix_is_linear_and_velocity_is_its_derivative():
    x, noise = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    assert torch.equal(mix(x, noise, torch.zeros(2)), x)
    assert torch.equal(mix(x, noise, torch.ones(2)), noise)
    times = torch.tensor([0.2, 0.7])
    noisy = mix(x, noise, times)
    torch.testing.assert_close(velocity(x, noisy, times, "x"), noise - x, atol=1e-5, rtol=1e-4)
    assert torch.equal(velocity(noise - x, noisy, times, "v"), noise - x)


def test_sampled_times_are_logit_normal():
    times = sample_times(20_000, 0.8, torch.Generator().manual_seed(0))
    logits = torch.logit(times)
    assert logits.mean() == pytest.approx(0.8, abs=0.03)
    assert logits.std() == pytest.approx(1, abs=0.03)


def test_schedules_fall_from_1_to_0_and_are_shifted_for_more_tokens():
    even = schedule(4, 64, None)
    assert even == [1, 0.75, 0.5, 0.25, 0]
    few, many = (schedule(8, tokens, (0.5, 1.15)) for tokens in (256, 4096))
    for times in (few, many):
        assert times[0] == 1
        assert times[-1] == 0
        assert times == sorted(times, reverse=True)
    assert all(a < b for a, b in zip(few[1:-1], many[1:-1], strict=True))
