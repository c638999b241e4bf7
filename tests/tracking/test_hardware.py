import re

from reward_finetuning.tracking.hardware import hardware, processor


def test_the_processor_is_named_as_the_system_names_it(tmp_path):
    (tmp_path / "cpuinfo").write_text(
        "processor\t: 0\nmodel name\t: Some CPU @ 2.20GHz\nprocessor\t: 1\nmodel name\t: Some CPU\n"
    )

    assert processor(tmp_path / "cpuinfo") == "Some CPU @ 2.20GHz"


def test_a_processor_that_the_system_does_not_name_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    (tmp_path / "cpuinfo").write_text("hart\t: 0\n")

    assert processor(tmp_path / "cpuinfo") == "unknown riscv64 processor"


def test_a_gpu_is_named_where_this_process_uses_one(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    on_cpu = hardware()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA L4")

    assert re.search(r", \d+ cores?$", on_cpu)
    assert hardware() == "NVIDIA L4"
