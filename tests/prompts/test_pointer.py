import datetime

import pytest

from reward_finetuning.config import UserError
from reward_finetuning.prompts import read_prompts
from reward_finetuning.prompts.pointer import follow, read_now, snapshot
from reward_finetuning.storage import open_store

TODAY = datetime.date(2026, 11, 22)


def write(folder, **files):
    for name, text in files.items():
        (folder / name.replace("__", "-")).write_text(text, encoding="utf-8")


def test_a_plain_name_leads_to_itself():
    assert follow("shapes:train", TODAY) == "shapes:train"
    assert follow("gs://team/prompts/current.jsonl", TODAY) == "gs://team/prompts/current.jsonl"


def test_of_dated_names_the_newest_that_is_not_in_the_future_is_taken(tmp_path):
    for name in ("p-2026-10-31.txt", "p-2026-11-21.txt", "p-2026-11-23.txt", "p-newest.txt", "q-2026-11-22.txt"):
        (tmp_path / name).write_text("a red circle\n", encoding="utf-8")

    assert follow(f"{tmp_path}/p-{{date}}.txt", TODAY) == f"{tmp_path}/p-2026-11-21.txt"


def test_a_pointer_holds_the_name_of_the_real_set_beside_it_or_elsewhere(tmp_path):
    (tmp_path / "near.pointer").write_text("set-7.jsonl\n", encoding="utf-8")
    (tmp_path / "far.pointer").write_text("\ngs://team/prompts/set-7.jsonl\n", encoding="utf-8")

    assert follow(f"{tmp_path}/near.pointer", TODAY) == f"{tmp_path}/set-7.jsonl"
    assert follow(f"{tmp_path}/far.pointer", TODAY) == "gs://team/prompts/set-7.jsonl"


def test_a_dated_pointer_is_followed_too(tmp_path):
    (tmp_path / "2026-11-01.pointer").write_text("set.txt", encoding="utf-8")

    assert follow(f"{tmp_path}/{{date}}.pointer", TODAY) == f"{tmp_path}/set.txt"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("p-{date}.txt", r"no such file up to 2026-11-22; .* holds .*p-2026-12-01.txt"),
        ("{date}/p.txt", "stands in the file's name"),
        ("empty.pointer", "must hold one line, the prompt set's name; it has 0"),
        ("absent.pointer", "does not exist"),
    ],
)
def test_what_leads_nowhere_is_said(tmp_path, source, said):
    (tmp_path / "p-2026-12-01.txt").write_text("a red circle\n", encoding="utf-8")
    (tmp_path / "empty.pointer").write_text("\n", encoding="utf-8")

    with pytest.raises(UserError, match=said):
        follow(f"{tmp_path}/{source}", TODAY)


def test_a_snapshot_is_the_same_set_and_stays_when_the_file_is_replaced(tmp_path):
    path = tmp_path / "current.jsonl"
    path.write_text(
        '{"id": "7", "prompt": "a \\u00e9toile", "category": "colour"}\n{"prompt": "b"}\n', encoding="utf-8"
    )
    before = read_now(str(path), TODAY)

    kept = snapshot(open_store(str(tmp_path / "series")), before)
    path.write_text('{"prompt": "another"}\n', encoding="utf-8")

    assert read_prompts(kept).prompts == before.prompts
    assert read_prompts(kept).digest == before.digest != read_now(str(path), TODAY).digest
    assert snapshot(open_store(str(tmp_path / "series")), before) == kept


def test_the_newest_date_of_a_built_in_family_is_taken():
    assert follow("shapes-retrain:{date}", datetime.date(2026, 10, 5)) == "shapes-retrain:2026-10-01"
    assert follow("shapes-retrain:black", datetime.date(2026, 10, 5)) == "shapes-retrain:black"
    with pytest.raises(UserError, match="no such file up to 2020-01-01"):
        follow("shapes-retrain:{date}", datetime.date(2020, 1, 1))
