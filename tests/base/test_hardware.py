import json
import platform
from dataclasses import replace

import pytest

from homeground.base.hardware import MatmulRates, free_disk_mb, free_memory_mb, matmul_rates, missing_parts, probe


@pytest.fixture(scope="module")
def machine():
    return probe()


def test_the_probe_agrees_with_the_libraries_themselves(machine):
    import bitsandbytes
    import torch

    assert machine.python == platform.python_version()
    assert machine.torch == torch.__version__
    assert machine.bitsandbytes == bitsandbytes.__version__
    assert (machine.device == "cuda") == torch.cuda.is_available()
    assert machine.cores >= 1


def test_rates_are_measured_once_and_positive(machine):
    assert machine.rates.bf16 > 0
    assert machine.rates.fp32 > 0
    assert matmul_rates(machine.device) is machine.rates


def test_it_can_be_printed_as_json(machine):
    document = json.loads(json.dumps(machine.to_json()))
    assert document["rates"] == {"bf16": machine.rates.bf16, "fp32": machine.rates.fp32}
    assert document["bf16_fast"] == machine.bf16_fast


def test_bf16_is_fast_when_it_is_not_slower():
    assert MatmulRates(bf16=2.0, fp32=0.3).bf16_fast
    assert not MatmulRates(bf16=0.1, fp32=0.3).bf16_fast


def test_what_will_be_slow_is_said(machine):
    poor = replace(
        machine,
        device="cpu",
        cores=2,
        free_memory_mb=3000.0,
        free_disk_mb=100.0,
        rates=MatmulRates(bf16=0.1, fp32=0.3),
    )
    told = " ".join(poor.slow())
    for what in ("no GPU", "bf16 is slower", "2 cores", "free memory", "free disk"):
        assert what in told
    rich = replace(poor, device="cuda", cores=16, free_memory_mb=64e3, free_disk_mb=64e3)
    assert rich.slow() == []


def test_free_disk_of_a_folder_that_does_not_exist_yet_is_that_of_its_parent(tmp_path):
    assert free_disk_mb(tmp_path / "a" / "b") == pytest.approx(free_disk_mb(tmp_path), rel=0.05)


def test_free_memory_is_a_plausible_number_of_megabytes():
    assert 10 < free_memory_mb() < 1e8


def test_nothing_is_missing_in_a_complete_installation():
    assert missing_parts() == []


def test_a_missing_gateway_is_a_problem_with_a_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert missing_parts() == ["the Agent Lightning gateway (agl-server) is missing: run 'make setup' again"]
