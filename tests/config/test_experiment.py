"""Arms, cells, the frozen copy, the schema and the names of templates."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from iikata.config import Experiment, declare, dump, local_path, read, schema, template_name
from iikata.config.variants import level_text
from iikata.core.errors import IikataError

VALUES = {
    "data": {"train": ["rows.jsonl", "owner/rows"], "validation": "held.jsonl"},
    "templates": ["alpaca", "mine/shape.json", "native"],
    "prompt_only": ["mine/asked.jinja"],
    "train": {"seeds": [0, 1]},
    "probes": "probes.jsonl",
}


def test_arms_go_seed_by_seed(tmp_path):
    names = [arm.name for arm in declare(VALUES, tmp_path).arms()]
    assert names == ["alpaca.s0", "shape.s0", "native.s0", "alpaca.s1", "shape.s1", "native.s1"]


def test_cells_are_every_arm_and_the_base_under_every_template(tmp_path):
    cells = [cell.name for cell in declare(VALUES, tmp_path).cells()]
    assert len(cells) == len(set(cells)) == (3 * 2 + 1) * 4
    assert cells[:4] == ["alpaca.s0@alpaca", "alpaca.s0@shape", "alpaca.s0@native", "alpaca.s0@asked"]
    assert cells[-4:] == ["base@alpaca", "base@shape", "base@native", "base@asked"]


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("dolly_ja", "dolly_ja"),
        ("templates/dolly_ja_rinna.json", "dolly_ja_rinna"),
        ("/a/b.c.jinja", "b.c"),
        ("a\\b.json", "b"),
        ("pack.shapes:chatty", "chatty"),
        ("v1.2", "v1.2"),
    ],
)
def test_template_goes_by_its_name_or_its_files_stem(spec, name):
    assert template_name(spec) == name


def test_existing_file_wins_over_a_hub_id(tmp_path):
    assert local_path("owner/rows", tmp_path, "data") is None
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "rows").touch()
    assert local_path("owner/rows", tmp_path, "data") == tmp_path / "owner" / "rows"


def test_built_in_names_win_over_what_lies_beside_the_file(tmp_path):
    (tmp_path / "smollm2").mkdir()
    (tmp_path / "alpaca").mkdir()
    assert local_path("smollm2", tmp_path, "model") is None
    assert local_path("alpaca", tmp_path, "template") is None
    assert local_path("./smollm2", tmp_path, "model") == tmp_path / "smollm2"


def test_template_without_a_suffix_is_looked_for_in_templates_beside_the_file(tmp_path):
    (tmp_path / "templates").mkdir()
    for name in ("mine.json", "other.jinja", "native.json"):
        (tmp_path / "templates" / name).touch()
    found = [local_path(spec, tmp_path, "template") for spec in ("mine", "templates/mine", "other", "native", "gone")]
    mine, other = tmp_path / "templates" / "mine.json", tmp_path / "templates" / "other.jinja"
    assert found == [mine, mine, other, None, None]
    values = {**VALUES, "templates": ["mine", "native"], "prompt_only": []}
    assert declare(values, tmp_path).resolved()["templates"] == [str(mine), "native"]


def test_frozen_copy_names_local_files_absolutely_and_reads_back_the_same(tmp_path):
    experiment = declare(VALUES, tmp_path)
    assert experiment.resolved()["data"]["train"] == [str(tmp_path / "rows.jsonl"), "owner/rows"]
    assert experiment.resolved()["prompt_only"] == [str(tmp_path / "mine" / "asked.jinja")]
    copy = tmp_path / "runs" / "one" / "experiment.yaml"
    copy.parent.mkdir(parents=True)
    copy.write_text(dump(experiment), encoding="utf-8")
    assert read(copy).resolved() == experiment.resolved()
    assert read(copy).cells() == experiment.cells()
    assert read(copy).folder == copy.parent


@settings(max_examples=50, deadline=None)
@given(
    st.text(
        st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"], exclude_characters="\ufeff"),
        min_size=1,
    ),
    st.floats(min_value=0, exclude_min=True, allow_infinity=False),
)
def test_any_text_and_any_number_survive_the_frozen_copy(tmp_path_factory, text, number):
    folder = tmp_path_factory.mktemp("copy")
    values = {**VALUES, "model": {"revision": text}, "train": {"learning_rate": number}}
    experiment = declare(values, folder)
    (folder / "copy.yaml").write_bytes(dump(experiment).encode())
    assert read(folder / "copy.yaml").resolved() == experiment.resolved()


def test_margin_number_is_the_primary_metrics(tmp_path):
    values = {**VALUES, "score": {"primary": "chrf", "metrics": ["chrf", "nll"]}}
    assert declare({**values, "compare": {"margin": 5}}, tmp_path).margins == {"chrf": 5.0}
    assert declare(values, tmp_path).margins == {"nll": "10% of gain"}


def test_experiment_does_not_change_after_reading(tmp_path):
    with pytest.raises(ValidationError):
        declare(VALUES, tmp_path).train.epochs = 5


def test_declared_values_name_the_places_they_are_given():
    from pathlib import Path

    values = {**VALUES, "train": {"epochs": 0}}
    with pytest.raises(
        IikataError, match=r"^--num_epochs=0: train.epochs: 0 was seen; it should be greater than or equal to 1.$"
    ):
        declare(values, Path(), {("train", "epochs"): "--num_epochs=0"})


def test_schema_describes_every_setting_and_refuses_unknown_ones():
    properties = json.loads(json.dumps(schema()))["$defs"]["TrainSettings"]
    assert properties["additionalProperties"] is False
    assert properties["properties"]["learning_rate"]["default"] == 0.0003
    assert all("description" in setting for setting in properties["properties"].values())
    assert "required" not in schema()
    assert set(schema()["properties"]) == set(Experiment.model_fields)


@pytest.mark.parametrize(
    ("value", "text"),
    [(3e-4, "3e-4"), (1e-3, "1e-3"), (0.01, "0.01"), (999999.0, "999999"), (1e6, "1e6"), (0.0, "0"), (8, "8")],
)
def test_a_level_is_written_as_people_do_and_names_its_variant_so(value, text):
    assert level_text(value) == text
