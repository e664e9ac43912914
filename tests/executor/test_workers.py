"""Several devices: the same bytes as one process, whatever ends in between, and no process left behind."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import oracle
from iikata.core.errors import IikataError
from iikata.pipeline import Evaluated, Pipeline, Stage, Stepped
from iikata.pipeline.executor import cluster, crew
from iikata.pipeline.executor.messages import About
from iikata.pipeline.machine import Machine
from iikata.run_folder import read_lines
from tiny_experiment import contents, experiment, written

pytestmark = pytest.mark.long
TOKEN = "7" * 64
TRAIN = {"epochs": 40, "checkpoint_seconds": 0}
APART = ("experiment.yaml",)
"""Where `devices:` itself stands."""


@pytest.fixture(scope="module")
def temporary(tmp_path_factory) -> Path:
    """Where the nodes' workers have their folders: in the machine's own there may be other runs'."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def nodes(temporary):
    """A cluster of two nodes on this machine, each with the processors that this process uses."""
    if find_spec("ray") is None:
        pytest.skip("needs the package ray: pip install 'iikata[ray]'")
    before = {name: os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ADDRESS")}
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_USAGE_STATS_ENABLED": "0"}
    os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"] = "."  # as iikata sets it before it imports Ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": torch.get_num_threads(), "object_store_memory": 100 * 2**20}
    with pytest.MonkeyPatch.context() as inherited:
        inherited.setenv("TMPDIR", str(temporary))
        inherited.setenv("RAY_TMPDIR", tempfile.gettempdir())  # its sockets' names must be short
        made = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
        made.add_node(**node)
    os.environ["RAY_ADDRESS"] = made.address
    yield made
    made.shutdown()
    for name, value in before.items():
        os.environ.pop(name)
        os.environ |= {name: value} if value else {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, llama_folder) -> Path:
    """The experiment's files and, in one/, the run that one process makes."""
    made = tmp_path_factory.mktemp("devices")
    Pipeline(declared(made, llama_folder, devices="1"), made / "one").run()
    return made


def declared(folder: Path, model: Path, **changes):
    return experiment(folder, model, **{"train": TRAIN, "devices": "ray"} | changes)


def made(run: Path) -> dict[str, bytes]:
    return {name: content for name, content in contents(run).items() if name not in APART}


def processes(word: str) -> list[int]:
    """Return the processes whose command holds `word`, this one left out."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word in path.read_bytes().decode(errors="replace") and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def pause(devices: set[str], seconds: float) -> None:
    """Stop these workers, whose names end in their numbers, for so long."""
    numbers = [int(device.rpartition(" ")[2]) for device in devices]

    def tell(what: int) -> None:
        for number in numbers:
            with suppress(ProcessLookupError):
                os.kill(number, what)

    tell(signal.SIGSTOP)
    threading.Timer(seconds, tell, [signal.SIGCONT]).start()


@pytest.fixture
def both(monkeypatch):
    """No work is given out before two workers have come: on a busy machine the first may else do all of it."""
    start = crew.Crew.start

    def start_both(self):
        start(self)
        while self.ready < 2:
            self.wait()

    monkeypatch.setattr(crew.Crew, "start", start_both)


@pytest.mark.usefixtures("nodes", "both")
def test_two_nodes_make_the_bytes_of_one_process_and_say_who_made_what(folder, llama_folder, temporary):
    out, told, held = folder / "two", [], set()

    def emit(event):
        told.append(event)
        held.update(temporary.glob("iikata-worker-*"))
        if isinstance(event, Stage) and event.name == "report":  # the last; on a busy machine workers are slow to part
            pause({one.device for one in told if isinstance(one, Stepped)}, 6)

    pipeline = Pipeline(declared(folder, llama_folder), out, emit)
    pipeline.run()
    assert "base" not in vars(pipeline.context)  # the head has no room for it beside a worker
    assert made(out) == made(folder / "one")
    lines = list(read_lines(out / "devices.jsonl"))
    trained = [arm for line in lines if line["stage"] == "train" for arm in line["arms"]]
    assert len(held) == 2
    assert not any(temporary.glob("iikata-worker-*"))
    assert sorted(trained) == ["alpaca_short.s0", "alpaca_short.s1", "plain.s0", "plain.s1"]
    assert len({line["place"] for line in lines}) == 2
    steps = [event for event in told if isinstance(event, Stepped)]
    assert {event.device for event in steps} <= {line["place"] for line in lines}
    assert all(event.of_device <= event.tokens_per_second for event in steps)
    arms = pipeline.context.experiment.arms()
    curves = [one for arm in arms for one in pipeline.context.store.read_evaluations(arm)]
    seen = [event.evaluation for event in told if isinstance(event, Evaluated)]
    assert len(curves) == 4 * 41  # before the first step and after each of 40 epochs
    assert sorted(seen, key=lambda one: (one.arm, one.step)) == sorted(curves, key=lambda one: (one.arm, one.step))
    assert sum("is lowest at step" in str(event) for event in told) == 4


@pytest.mark.usefixtures("nodes")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_adapters_from_elsewhere_give_the_bytes_of_one_process_those_too_that_workers_merge(tmp_path, llama_folder):
    for name, more in (("plain", {}), ("dora", {"use_dora": True})):
        made_by = {"r": 4, "target_modules": ["q_proj"], "init_lora_weights": False, **more}
        oracle.new_adapter(llama_folder, **made_by).save_pretrained(tmp_path / name)
    theirs = [{"name": one, "template": "plain", "adapters": [str(tmp_path / one)]} for one in ("plain", "dora")]
    changes = {"templates": [], "variants": theirs}
    for out, devices in (("one", "1"), ("two", "ray")):
        pipeline = Pipeline(declared(tmp_path, llama_folder, devices=devices, **changes), tmp_path / out)
        pipeline.run()
    assert "base" not in vars(pipeline.context)
    assert made(tmp_path / "two") == made(tmp_path / "one")


@pytest.mark.usefixtures("nodes")
@pytest.mark.faults
def test_a_killed_workers_arm_goes_on_elsewhere_from_its_last_state(folder, llama_folder, tally, capfd):
    out, killed, told = folder / "killed", [], []

    def kill(event):
        told.append(event)
        # The worker's number is its name here. States are written beside the steps: one of this arm must have come.
        if (
            isinstance(event, Stepped)
            and 3 <= event.step.step < event.steps
            and not killed
            and any(out.glob(f"train/{event.step.arm}/state/*.json"))
        ):
            killed.append((event.step.arm, event.device))
            os.kill(int(event.device.rpartition(" ")[2]), signal.SIGKILL)

    Pipeline(declared(folder, llama_folder), out, kill).run()
    tally("faults injected")
    assert made(out) == made(folder / "one")
    arm, device = killed[0]
    took = [
        line["place"] for line in read_lines(out / "devices.jsonl") if line["stage"] == "train" and arm in line["arms"]
    ]
    assert took[0] == device != took[1]
    again = [event.step.step for event in told if isinstance(event, Stepped) and event.step.arm == arm]
    assert again.count(1) == 1  # it did not begin anew
    assert "raylet" not in capfd.readouterr().out
    assert any("is lost" in str(event) for event in told)


@pytest.mark.usefixtures("nodes")
@pytest.mark.faults
def test_ctrl_c_saves_and_leaves_no_worker_and_the_next_run_goes_on(folder, llama_folder, tally):
    out = folder / "stopped"
    path = written(folder, llama_folder, train=TRAIN, devices="ray")
    command = [sys.executable, "-m", "iikata", "run", str(path), "--out", str(out)]
    child = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # behind a shell's `&` it is ignored
    )  # fmt: skip
    end = time.monotonic() + 90
    while not any(out.glob("train/*/state/*.json")):
        assert child.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does
    said = child.communicate(timeout=15)[1]
    assert child.returncode == 130, said
    assert "To go on: iikata run" in said
    assert not wait_for(lambda: not processes("ray::Worker"), 15)
    Pipeline(declared(folder, llama_folder, name="tiny"), out).run()
    tally("signals survived")
    assert made(out) == made(folder / "one")


def wait_for(what, seconds: float) -> bool:
    """Return whether it did not come to that in time."""
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.1)
    return not what()


@pytest.mark.faults
def test_a_killed_head_leaves_no_process_of_its_own_ray(tmp_path, llama_folder, nodes, tally):
    """A machine's own Ray, started by the head: none of it outlives two minutes."""
    del nodes  # only so that it is skipped without ray
    code = (
        "import sys, time\nfrom iikata.pipeline.executor import cluster\n"
        "with cluster.connected('local') as ray:\n"
        "    print(ray._private.worker._global_node.get_temp_dir_path(), flush=True)\n    time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        folder = child.stdout.readline().strip()
        assert len(processes(folder)) > 2
        child.kill()
    assert not wait_for(lambda: not processes(folder), 120)
    shutil.rmtree(folder, ignore_errors=True)
    tally("faults injected")


@pytest.mark.usefixtures("nodes")
def test_a_node_with_another_model_is_refused_by_name(folder, llama_folder):
    there = declared(folder, llama_folder)
    run = Pipeline(there, folder / "refused")
    assert run.context.weights  # read
    vars(run.context)["weights"] = "0123456789abcdef"
    with pytest.raises(IikataError, match=rf"node {os.uname().nodename}: the model there has other weights"):
        run.run("train")
    assert not any((folder / "refused").glob("train/*"))


def test_without_ray_one_device_is_used_and_a_cluster_is_refused_with_the_way_to_install(
    tmp_path, llama_folder, monkeypatch
):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    monkeypatch.setattr(cluster, "gpus", lambda: 4)
    told = []
    assert cluster.address(declared(tmp_path, llama_folder, devices="auto"), told.append) is None
    assert "this machine has 4 GPUs, and one is used: the others need Ray, pip install 'iikata[ray]'" in told[0].message
    with pytest.raises(IikataError, match=r"devices: ray needs the package ray: pip install 'iikata\[ray\]'"):
        cluster.address(declared(tmp_path, llama_folder), told.append)


@pytest.mark.parametrize(("devices", "gpus", "where"), [
    ("auto", 1, None), ("auto", 2, "local"), ("cpu", 4, None), ("1", 4, None), ("ray", 0, "auto"),
    ("ray://h:10001", 0, "ray://h:10001"),
])  # fmt: skip
def test_where_the_work_goes(tmp_path, llama_folder, monkeypatch, devices, gpus, where):
    monkeypatch.setattr(cluster, "find_spec", lambda name: object())
    monkeypatch.setattr(cluster, "gpus", lambda: gpus)
    assert cluster.address(declared(tmp_path, llama_folder, devices=devices), print) == where


def test_without_ray_client_its_install_is_told_and_not_that_no_cluster_answers(monkeypatch):
    def init(*_, **__):
        raise ImportError("Ray Client requires pip package `ray[client]`.")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init, shutdown=lambda: None))
    with (
        pytest.raises(IikataError, match=r"devices: ray://h:1 .*pip install 'ray\[client\]'"),
        cluster.connected("ray://h:1"),
    ):
        pass


def test_one_process_never_imports_ray(folder):
    code = (
        "import sys\nfrom pathlib import Path\nfrom iikata.config import read\nfrom iikata.pipeline import Pipeline\n"
        f"Pipeline(read(Path({str(folder / 'one' / 'experiment.yaml')!r})), Path({str(folder / 'one')!r})).run()\n"
        "sys.exit('ray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Elsewhere:
    """Stands in for Ray where only the choice of jobs matters."""


def test_a_seeds_arms_stay_on_one_device_while_there_is_a_choice():
    made = crew.Crew("", Elsewhere, lambda: (None, ""), False, lambda event: None, lambda line: None)
    hands = [crew._Hand(None, None) for _ in range(3)]
    queue = [crew.Job(f"{name}.s{seed}", lambda: None, seed) for seed in (0, 1) for name in "ab"]
    taken = [made.choose(hand, queue).name for hand in (hands[0], hands[1], hands[0], hands[2])]
    assert taken == ["a.s0", "a.s1", "b.s0", "b.s1"]


def joined(*abouts: About, mixed: bool = False) -> None:
    made = crew.Crew("", Elsewhere, lambda: (None, ""), mixed, lambda event: None, lambda line: None)
    made._weights = "w"
    for about in abouts:
        made._join(crew._Hand(None, None), about)


H100 = About(Machine("cuda", "bfloat16", "NVIDIA H100"), "one", "GPU 0", "w", {"torch": "2.11"}, 1)


def test_devices_of_different_kinds_are_refused_unless_declared():
    other = replace(H100, node="two", machine=Machine("cuda", "bfloat16", "NVIDIA A100"))
    joined(H100, replace(H100, label="GPU 1"))
    with pytest.raises(
        IikataError, match=r"two GPU 0 is NVIDIA A100 \(bfloat16\), one GPU 0 is NVIDIA H100 .*mixed_de"
    ):
        joined(H100, other)
    joined(H100, other, mixed=True)


def test_a_node_with_another_version_is_refused_by_name_though_kinds_may_differ():
    with pytest.raises(IikataError, match=r"node two: torch 2\.12 where it is 2\.11 on one\. Install the same"):
        joined(H100, replace(H100, node="two", software={"torch": "2.12"}), mixed=True)


def test_three_workers_that_end_over_one_arm_end_the_run_with_that_as_the_reason():
    made = crew.Crew("", Elsewhere, lambda: (None, ""), False, lambda event: None, lambda line: None)
    job = crew.Job("a.s0", lambda: None, 0)
    assert made._again(job, H100) is made._again(job, H100) is job
    with pytest.raises(IikataError, match=r"a\.s0: 3 workers ended over it \(one GPU 0, one GPU 0, one GPU 0\)"):
        made._again(job, H100)
