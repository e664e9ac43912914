"""An arm goes to the hub whole, after it was shown, and a token is never."""

import io
import json

import pytest

import hub_stub
from iikata.cli import main
from iikata.pipeline import push

ARM = "alpaca_short.s0"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with hub_stub.serving() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_TOKEN", hub_stub.TOKEN)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # plain LFS, which a stub can take
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
        yield hub


def pushed(run, *flags, repo="owner/colours"):
    return main(["push", str(run), ARM, repo, "--base", "owner/base", *flags])


def test_what_goes_up_is_shown_and_then_is_there(whole_run, hub, capsys):
    assert pushed(whole_run, "--yes", "--private") == 0
    shown, files = capsys.readouterr().out, hub.repos["owner/colours"]
    assert f"to {hub.address}/owner/colours as owner; the repository is made, private" in shown
    assert f"{hub.address}/owner/colours/commit/abc" in shown
    assert set(files) > {"README.md", "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja"}
    for name, content in files.items():
        assert f"{len(content):,}  {name}" in shown
    stored = (whole_run / "train" / ARM / "adapter_model.safetensors").read_bytes()
    assert len(files["adapter_model.safetensors"]) == len(stored)
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "owner/base"
    assert hub.private["owner/colours"]
    assert hub.tokens >= {f"Bearer {hub_stub.TOKEN}"}


def test_the_card_says_how_to_prompt_what_was_found_and_on_what(whole_run, hub, capsys):
    assert pushed(whole_run, "--yes") == 0
    card = hub.repos["owner/colours"]["README.md"].decode()
    signature = json.loads((whole_run / "signature.json").read_text())
    verdict = json.loads((whole_run / "compare" / "comparisons.json").read_text())["verdict"]
    for part in (
        'AutoTokenizer.from_pretrained("owner/colours")',
        "### Instruction:\n{instruction}",
        f"hash {signature['data']['train']}",
        '"seeds": [\n  0\n ]',
        verdict["sentence_ja"],
        "live\\_adapter: passed",
    ):
        assert part in card.replace("live_adapter", "live\\_adapter"), part
    assert "PUBLIC: everyone can read it" in capsys.readouterr().out


def test_merged_weights_go_up_whole(whole_run, hub):
    assert main(["push", str(whole_run), ARM, "owner/whole", "--merge", "--yes"]) == 0
    files = hub.repos["owner/whole"]
    assert "config.json" in files
    assert "adapter_config.json" not in files


def test_nothing_goes_up_before_it_is_agreed_to(whole_run, hub, capsys, monkeypatch):
    assert pushed(whole_run) == 1
    assert "give --yes" in capsys.readouterr().err
    for said, code in (("n\n", 1), ("\n", 1), ("y\n", 0)):
        asked = io.StringIO(said)
        asked.isatty = lambda: True
        monkeypatch.setattr("sys.stdin", asked)
        assert not hub.repos
        assert pushed(whole_run) == code
    assert list(hub.repos) == ["owner/colours"]


def test_what_is_there_and_is_replaced_is_told(whole_run, hub, capsys):
    hub.repos["owner/colours"], hub.private["owner/colours"] = {"README.md": b"old", "other.bin": b"x"}, False
    assert pushed(whole_run, "--yes", "--private") == 0
    shown = capsys.readouterr().out
    assert "the repository is there, with 2 files, PUBLIC" in shown
    assert "README.md  (replaces what is there)" in shown
    assert hub.repos["owner/colours"]["other.bin"] == b"x"


def test_a_token_that_may_not_write_is_told_before_anything_is_made(whole_run, hub, capsys, monkeypatch):
    monkeypatch.setattr("iikata.pipeline.export.export", lambda *args, **more: pytest.fail("it was exported"))
    hub.role = "read"
    assert pushed(whole_run, "--yes") == 1
    assert "the token of owner may only read" in capsys.readouterr().err
    monkeypatch.delenv("HF_TOKEN")
    assert pushed(whole_run, "--yes") == 1
    assert "there is no token of the hub" in capsys.readouterr().err
    assert pushed(whole_run, "--yes", repo="colours") == 1
    assert "owner/name is allowed" in capsys.readouterr().err


FAULTS = {
    "whoami": (401, "does not take the token"),
    "create": (403, "has not the right to write"),
    "commit": (403, "has not the right to write"),
    "preupload": (400, "check the network"),
}


@pytest.mark.parametrize("part", FAULTS)
def test_what_the_hub_refuses_is_told_without_the_token(whole_run, hub, capsys, part):
    hub.fail[part], said = FAULTS[part]
    assert pushed(whole_run, "--yes") == 1
    shown = capsys.readouterr()
    assert said in shown.err
    assert hub_stub.TOKEN not in shown.err + shown.out
    assert not any(hub.repos.values())


def test_a_hub_that_is_away_is_told(whole_run, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", hub_stub.TOKEN)
    assert pushed(whole_run, "--yes") == 1
    assert "http://127.0.0.1:9/owner/colours: " in (said := capsys.readouterr().err)
    assert "check the network" in said


def test_a_token_of_the_login_is_left_out_of_errors(monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.utils.get_token", lambda: "hf_FromTheLoginsFile")
    with pytest.raises(push.IikataError) as raised, push.told("o/n"):
        raise ValueError("bad header hf_FromTheLoginsFile")
    assert "hf_From" not in str(raised.value)


def test_a_base_without_a_hub_id_is_refused(whole_run, hub, capsys):
    assert main(["push", str(whole_run), ARM, "owner/colours", "--yes", "--base", "./folder"]) == 1
    assert "on the hub a base is named as owner/name" in capsys.readouterr().err
    assert not hub.repos
