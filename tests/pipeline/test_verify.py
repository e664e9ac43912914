"""A server that serves the arm passes; one that serves the base, another template or no end is told by what it does."""

import json
import re
import shutil

import pytest

import model_server
from iikata.cli import main
from iikata.pipeline import Pipeline
from iikata.pipeline.export import export
from iikata.pipeline.openai_server import KEY
from iikata.pipeline.verify import OFF
from tiny_experiment import ONE_ARM, experiment

ARM = "alpaca_short.s0"


@pytest.fixture(autouse=True)
def few_tokens(request, monkeypatch):
    """Ask for 10 tokens, which tell them apart as 32 do; the first test asks for what a user does."""
    if "passes_on_both" not in request.node.name:
        monkeypatch.setattr("iikata.pipeline.verify.TOKENS", 10)


def verified(run, served, *flags, model="tiny", arm=ARM):
    return main(["verify", str(run), arm, "--endpoint", served.url, "--model", model, *flags])


def told(run, served, capsys, *flags):
    code = verified(run, served, "--json", *flags)
    found = json.loads(capsys.readouterr().out)
    return code, {route["route"]: route for route in found["routes"]}, found


def test_a_server_of_the_exported_arm_passes_on_both_endpoints(whole_run, served_folders, capsys):
    with model_server.serving(served_folders / "healthy") as served:
        code, routes, found = told(whole_run, served, capsys)
        assert (code, found["served"], list(routes)) == (0, True, ["completions", "chat"])
        for route in routes.values():
            assert (route["answers"], route["same_prompt_tokens"]) == ({"arm": 4}, True)
            assert route["logprobs"]["to_arm"] < 1e-3 < 0.1 < route["logprobs"]["to_base"]
            assert not route["logprobs"]["off"]
        assert verified(whole_run, served) == 0
        assert "served: alpaca_short.s0, prompted as it was trained" in capsys.readouterr().out
    assert {(one["temperature"], one["max_tokens"]) for one in served.asked} == {(0, 32)}


@pytest.mark.parametrize("logprobs", ["given", "refused"])
def test_an_adapter_that_was_left_out_is_called_inert(whole_run, served_folders, capsys, logprobs):
    with model_server.serving(served_folders / "inert", logprobs=logprobs) as served:
        code, routes, found = told(whole_run, served, capsys)
        assert (code, found["served"]) == (1, False)
        assert {route["serves"] for route in routes.values()} == {"base"}
        assert all(route["same_prompt_tokens"] for route in routes.values())
        for found in (route["logprobs"] for route in routes.values() if logprobs == "given"):
            assert found["to_base"] < 1e-3
            assert found["off"] == (found["to_arm"] > OFF)
        assert verified(whole_run, served) == 1
        said = capsys.readouterr().out
    assert "INERT: the untuned base's answers" in said
    assert "for example (completions): Which colour is red?" in said


@pytest.mark.parametrize("counts", [True, False])
def test_another_chat_template_is_told_though_the_weights_are_right(whole_run, served_folders, capsys, counts):
    with model_server.serving(served_folders / "template", counts=counts) as served:
        code, routes, _ = told(whole_run, served, capsys)
        assert (code, routes["completions"]["fine"], routes["chat"]["fine"]) == (1, True, False)
        assert routes["chat"]["serves"] == "other"
        assert routes["chat"]["looks_like"] == ("plain" if counts else None)
        verified(whole_run, served)
        assert ("ANOTHER TEMPLATE or tokenizer" in capsys.readouterr().out) == counts


def test_a_server_that_does_not_stop_where_the_arm_ends_is_told(finished, served_folders, capsys, monkeypatch):
    monkeypatch.setattr("iikata.pipeline.verify.TOKENS", 40)
    with model_server.serving(served_folders / "healthy", stops=False) as served:
        code, routes, _ = told(finished / "run", served, capsys)
    ended = [one for one in routes["completions"]["probes"] if one["runs_on"]]
    assert (code, routes["completions"]["runs_on"], bool(ended)) == (1, True, True)
    assert all(len(one["answers"]["server"]) > len(one["answers"]["arm"]) for one in ended)


@pytest.mark.parametrize("there", ["/completions", "/chat/completions"])
def test_one_endpoint_is_enough(whole_run, served_folders, capsys, there):
    with model_server.serving(served_folders / "healthy", routes=(there,)) as served:
        code, routes, found = told(whole_run, served, capsys)
    assert (code, [f"/{name}" for name in routes]) == (0, [there.replace("/chat/completions", "/chat")])
    assert len(found["not_asked"]) == 1


@pytest.mark.parametrize("logprobs", ["left out", "refused"])
def test_without_log_probabilities_the_texts_decide(whole_run, served_folders, capsys, logprobs):
    with model_server.serving(served_folders / "healthy", logprobs=logprobs) as served:
        assert verified(whole_run, served) == 0
    assert "log-probabilities: none told" in capsys.readouterr().out
    with_them = [one for one in served.asked if "logprobs" in one]
    assert len(with_them) == (1 if logprobs == "refused" else 8)  # refused once, not asked for again


@pytest.fixture(scope="module")
def timid(tmp_path_factory, llama_folder):
    """A run whose arm answers as the base does, for it hardly learnt; and the arm and the base as served_folders."""
    made = tmp_path_factory.mktemp("timid")
    train = ONE_ARM | {"learning_rate": 1e-5}
    pipeline = Pipeline(experiment(made, llama_folder, templates=["plain"], train=train), made / "run")
    pipeline.run("train")
    export(pipeline.context, "plain.s0", made / "arm", merge=True)
    shutil.copytree(made / "arm", made / "base")
    shutil.copy(llama_folder / "model.safetensors", made / "base" / "model.safetensors")
    return made


@pytest.mark.parametrize("served_is", ["arm", "base"])
def test_where_arm_and_base_answer_alike_log_probabilities_decide(timid, capsys, served_is):
    with model_server.serving(timid / served_is) as served:
        code = verified(timid / "run", served, "--json", arm="plain.s0")
        routes = json.loads(capsys.readouterr().out)["routes"]
    assert (code, {route["serves"] for route in routes}) == (int(served_is == "base"), {served_is})


def test_where_nothing_tells_them_apart_it_is_not_called_served(timid, capsys):
    with model_server.serving(timid / "arm", logprobs="left out") as served:
        assert verified(timid / "run", served, arm="plain.s0") == 1
    assert "UNKNOWN: arm and base answer these probes alike" in capsys.readouterr().out


@pytest.mark.parametrize("template", ["rinna", "plain"])
def test_pieces_and_declared_line_breaks_are_no_fault(tmp_path, capsys, model_folder, template):
    declared = experiment(tmp_path, model_folder("neox_sequential"), templates=[template])
    pipeline = Pipeline(declared, tmp_path / "run")
    pipeline.run("train", True)
    export(pipeline.context, f"{template}.s0", tmp_path / "out", merge=True)
    with model_server.serving(tmp_path / "out") as served:
        code = verified(tmp_path / "run", served, "--json", arm=f"{template}.s0")
    found = json.loads(capsys.readouterr().out)
    assert [route["same_prompt_tokens"] for route in found["routes"]] == [True, True]
    assert (code, {route["serves"] for route in found["routes"]}) == (0, {"arm"})


FAULTS = {
    "a model that it does not serve": ({}, "other", "does not exist.*It lists: tiny"),
    "a key that it does not take": ({"status": 401}, "tiny", f"status 401.*Is the key in {KEY} right"),
    "a server that fails": ({"status": 500}, "tiny", "status 500.*Does it serve"),
    "no such endpoints": ({"routes": ()}, "tiny", "neither /completions nor /chat/completions is there"),
    "a slow server": ({"wait": 1.0}, "tiny", "no answer within 0.2 s.*--timeout SECONDS"),
}


@pytest.mark.parametrize("how", FAULTS, ids=FAULTS)
def test_a_server_at_fault_is_told_without_its_key(whole_run, served_folders, capsys, monkeypatch, how):
    monkeypatch.setenv(KEY, "sk-very-secret-key")
    faults, model, said = FAULTS[how]
    with model_server.serving(served_folders / "healthy", **faults) as served:
        seconds = "0.2" if "wait" in faults else "30"
        assert verified(whole_run, served, "--timeout", seconds, model=model) == 1
    shown = capsys.readouterr()
    assert re.search(said, shown.err)
    assert "very-secret" not in shown.err + shown.out
    assert {one["key"] for one in served.asked} == {"Bearer sk-very-secret-key"}


def test_a_server_that_is_down_is_told_before_a_model_is_loaded(whole_run, capsys, monkeypatch):
    monkeypatch.setattr("iikata.model.load.load", lambda *args, **more: pytest.fail("the base was loaded"))
    address = ["--endpoint", "http://127.0.0.1:9", "--model", "m"]
    assert main(["verify", str(whole_run), ARM, *address]) == 1
    assert "http://127.0.0.1:9/v1/models: no answer" in capsys.readouterr().err
    assert main(["verify", str(whole_run), ARM, "--endpoint", "localhost:9", "--model", "m"]) == 1
    assert "http:// or https://" in capsys.readouterr().err


def test_an_answer_of_another_shape_is_told(whole_run, served_folders, capsys, monkeypatch):
    monkeypatch.setattr(model_server.Served, "answer", lambda served, body: {"answers": []})
    with model_server.serving(served_folders / "healthy") as served:
        assert verified(whole_run, served) == 1
    assert "not the answer of an OpenAI-compatible server: {'answers': []}" in capsys.readouterr().err
