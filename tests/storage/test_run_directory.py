import threading

import pytest

from reward_finetuning.config import ArtifactError, UserError
from reward_finetuning.storage import Identity, Reference, RunDirectory, read_reference, write_reference


def begun(config, **digests):
    run = RunDirectory(config)
    run.begin({"model.digest": "m", "prompts.digest": "p"} | digests, {"code_version": "c"})
    return run


def committed(run, epoch):
    identity = Identity(kind="policy", fingerprint=run.fingerprint, epoch=epoch)
    name = run.name(epoch, "policy")
    manifest = run.commit(name, identity, lambda folder: (folder / "w").write_text(str(epoch)) and {})
    return Reference.to(name, manifest)


def test_a_run_goes_on_with_more_epochs_and_other_placement(run_config):
    begun(run_config())

    begun(run_config(loop={"epochs": 9, "granularity": "split", "evaluate_every": 1}))


def test_a_run_is_not_continued_with_other_numbers_and_each_key_is_listed(run_config):
    begun(run_config())

    with pytest.raises(UserError, match=r"model.digest: run has 'm', config says 'x'; seed: run has 0, config says 5"):
        begun(run_config(seed=5), **{"model.digest": "x"})


@pytest.mark.parametrize("place", ["disk", "gs", "s3"])
def test_of_two_that_begin_at_once_with_other_numbers_one_wins_and_the_other_reads_what_differs(
    run_config, place, request
):
    changes = {} if place == "disk" else {"run_root": f"{request.getfixturevalue(place).uri}/runs"}
    configs = [run_config(seed=seed, **changes) for seed in (1, 2)]
    both, errors = threading.Barrier(2), {}

    def begin(config):
        both.wait()
        try:
            begun(config)
        except UserError as error:
            errors[config.seed] = str(error)

    threads = [threading.Thread(target=begin, args=(config,)) for config in configs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    seed = RunDirectory(configs[0]).describe()["config"]["seed"]
    (other,) = {1, 2} - {seed}
    assert errors.keys() == {other}
    assert f"seed: run has {seed}, config says {other}" in errors[other]


def test_a_run_is_not_continued_with_another_model_index(run_config):
    begun(run_config(), **{"model.index": "a"})

    with pytest.raises(UserError, match=r"model\.index: run has 'a', config says 'b'"):
        begun(run_config(), **{"model.index": "b"})


def test_a_run_of_an_earlier_version_without_a_digest_of_model_index_is_continued(run_config):
    begun(run_config())

    begun(run_config(), **{"model.index": "a"})


def test_tasks_compare_the_configs_part_without_reading_model_or_prompts(run_config):
    begun(run_config())

    RunDirectory(run_config()).check()
    with pytest.raises(UserError, match=r"training.learning_rate: run has 0.0001, config says 0.1"):
        RunDirectory(run_config(training={"learning_rate": 0.1})).check()


def test_latest_moves_one_epoch_at_a_time(run_config):
    run = begun(run_config())
    first, third = committed(run, 1), committed(run, 3)

    assert run.latest().epoch == 0
    run.advance(first)
    run.advance(first)  # a retry
    assert run.latest() == first
    with pytest.raises(ArtifactError, match=r"latest.json is at epoch 1; 3 cannot follow"):
        run.advance(third)


def test_latest_never_moves_back(run_config):
    run = begun(run_config())
    first, second = committed(run, 1), committed(run, 2)
    run.advance(first)
    run.advance(second)

    run.advance(first)

    assert run.latest() == second


def test_an_artifact_that_is_not_the_one_referred_to_is_refused(run_config):
    run = begun(run_config())
    reference = committed(run, 1).model_copy(update={"checksum": "0" * 64})

    with pytest.raises(ArtifactError, match=r"is not what this task was given.*expected 0000"):
        run.open(reference)


def test_before_the_first_task_the_error_says_what_is_missing(run_config):
    with pytest.raises(UserError, match=r"is no run directory yet: run.json"):
        _ = RunDirectory(run_config()).fingerprint


def test_references_travel_as_files(tmp_path):
    reference = Reference(name="epochs/0001/policy", epoch=1, checksum="c", facts={"a": 1.5})

    write_reference(str(tmp_path / "new" / "file"), reference)

    assert read_reference(str(tmp_path / "new" / "file")) == reference


@pytest.mark.parametrize("text", ["", "x", "{}", '{"epoch": 1, "foo": 2}'])
def test_a_file_that_is_no_reference_is_named(tmp_path, text):
    (tmp_path / "file").write_text(text)

    with pytest.raises(ArtifactError, match="file is no artifact reference"):
        read_reference(str(tmp_path / "file"))
