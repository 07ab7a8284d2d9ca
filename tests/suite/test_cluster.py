"""The runner on Ray: two nodes on this machine, one of them killed in the middle; the same results as without it."""
from __future__ import annotations

import signal
import threading
import time
from dataclasses import replace

import pytest

from dipir.cli import main as cli
from dipir.errors import ConfigError
from dipir.suite import run as suite_run
from dipir.suite.cluster import Cluster, connect, packed, unpacked
from dipir.suite.file import JobSpec, Limits, Suite
from dipir.suite.run import Local, job_folder, read_status, run_suite

ray = pytest.importorskip("ray")
FAULTS = "benchmarks.suite_faults:job"


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    monkeypatch.setenv("RAY_DEDUP_LOGS", "0")
    monkeypatch.setattr(suite_run, "WAIT_S", 0.1)


@pytest.fixture
def two_nodes():
    """(cluster, its second node, which can be removed)."""
    from ray.cluster_utils import Cluster as Nodes

    kept = signal.getsignal(signal.SIGTERM)
    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = nodes.add_node(num_cpus=1)
    nodes.wait_for_nodes()
    try:
        yield nodes, second
    finally:
        ray.shutdown()
        nodes.shutdown()
        # A node of Ray puts its own in.
        signal.signal(signal.SIGTERM, kept)


def suite_of(count: int, seconds: float) -> Suite:
    jobs = [JobSpec(f"job{k}", FAULTS, "", k, {"number": k, "seconds": seconds}, {"number": k}) for k in range(count)]
    return Suite("cluster", tuple(jobs), Limits(minutes=2, tries=2))


def test_folders_travel(tmp_path):
    (tmp_path / "a" / "work").mkdir(parents=True)
    (tmp_path / "a" / "work" / "x.bin").write_bytes(b"\x00\x01")
    (tmp_path / "b").mkdir()
    unpacked(packed(tmp_path / "a"), tmp_path / "b")
    assert (tmp_path / "b" / "work" / "x.bin").read_bytes() == b"\x00\x01"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999", "auto"])
def test_no_cluster_there(address, monkeypatch):
    """Nor where the notes of a cluster that is gone lead."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ConfigError, match="no Ray cluster answers"):
        connect(address, Limits())


@pytest.mark.parametrize("asked, gpus, text", [("cuda:1", 1.0, "Ray chooses which GPU"),
                                               ("cuda", 0.0, "limits.gpus is 0")])
def test_devices_that_ray_would_not_give(asked, gpus, text, monkeypatch):
    monkeypatch.setenv("DIPIR_DEVICE", asked)
    with pytest.raises(ConfigError, match=text):
        connect("127.0.0.1:1", Limits(gpus=gpus))


@pytest.mark.slow
def test_a_lost_node_costs_nothing_but_time(two_nodes, tmp_path):
    nodes, second = two_nodes
    suite = suite_of(4, 4.0)
    before = signal.getsignal(signal.SIGTERM)
    starter = connect(nodes.address, suite.limits)
    assert signal.getsignal(signal.SIGTERM) is before, "what stops a run is still ours"
    assert isinstance(starter, Cluster) and starter.slots == 4
    used: set[str] = set()

    def kill() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not any(
                read_status(job_folder(tmp_path / "ray", j.name))["state"] == "done" for j in suite.jobs):
            time.sleep(0.1)
        # In the middle of the next two.
        time.sleep(1.5)
        nodes.remove_node(second, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    ended = run_suite(suite, tmp_path / "ray", starter)
    killer.join()
    run_suite(suite, tmp_path / "local", Local(2))
    assert len(ended["done"]) == 4 and not ended["failed"]
    for job in suite.jobs:
        one, other = (read_status(job_folder(tmp_path / place, job.name)) for place in ("ray", "local"))
        assert one["figures"] == other["figures"] and one["key"] == other["key"]
        used |= set(one["causes"])
        assert one["attempt"] == 1 + len(one["causes"]) <= 2
        assert (job_folder(tmp_path / "ray", job.name) / "result" / "value.txt").read_text() == (
            job_folder(tmp_path / "local", job.name) / "result" / "value.txt").read_text()
    assert any("worker was lost" in cause for cause in used)


def test_a_cluster_of_this_machine_from_the_command_line(tmp_path, monkeypatch, capsys):
    """``local`` begins one of its own, whatever RAY_ADDRESS names."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text("method: benchmarks.suite_faults:job\nseeds: [0, 1]\n")
    try:
        assert cli.main(["bench", "run", "s.yaml", "--ray", "local", "--quiet"]) == 0
    finally:
        ray.shutdown()
    assert cli.main(["bench", "status", "runs/s"]) == 0
    assert "2 done, 0 failed" in capsys.readouterr().out


def test_jobs_on_the_cluster_get_the_device(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DIPIR_DEVICE", "cpu")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.yaml").write_text("method: benchmarks.suite_faults:job\nset: {fault: device}\n")
    try:
        assert cli.main(["bench", "run", "d.yaml", "--ray", "local", "--quiet"]) == 1
    finally:
        ray.shutdown()
    assert "device of this job: cpu." in capsys.readouterr().err


def test_faults_are_recorded_as_on_this_machine(two_nodes, tmp_path):
    nodes, _ = two_nodes
    suite = suite_of(4, 0.0)
    faults = ("none", "error", "kill", "checkpoint")
    suite = replace(suite, jobs=tuple(replace(j, settings={**j.settings, "fault": f})
                                      for j, f in zip(suite.jobs, faults, strict=True)))
    run_suite(suite, tmp_path / "ray", connect(nodes.address, suite.limits))
    got = [read_status(job_folder(tmp_path / "ray", j.name)) for j in suite.jobs]
    assert [s["state"] for s in got] == ["done", "failed", "done", "done"]
    assert "user's" in got[1]["cause"] and got[2]["attempt"] == 2 and got[3]["attempt"] == 2
