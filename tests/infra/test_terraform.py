"""Invariants of infra/terraform."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_gpu_pools_scale_to_zero(terraform):
    pool = terraform.resources("google_container_node_pool")["google_container_node_pool.gpu"]

    assert pool["autoscaling"][0]["total_min_node_count"] == 0
    assert pool["initial_node_count"] == 0


def test_gpu_nodes_are_tainted_and_spot_nodes_twice(terraform):
    node = terraform.resources()["google_container_node_pool.gpu"]["node_config"][0]
    (gpu,), (spot,) = node["taint"], [each["taint"] for each in node["dynamic"]]

    assert gpu == {"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"}
    assert spot["for_each"] == "${each.value.spot ? [1] : []}"
    assert spot["content"] == [{"key": "cloud.google.com/gke-spot", "value": "true", "effect": "NO_SCHEDULE"}]
    assert node["spot"] == "${each.value.spot}"


def test_nodes_hand_out_the_identity_of_pods_and_not_their_own(terraform):
    for pool in terraform.resources("google_container_node_pool").values():
        assert pool["node_config"][0]["workload_metadata_config"][0]["mode"] == "GKE_METADATA"


def test_no_account_has_a_key(terraform):
    assert not terraform.resources("google_service_account_key")


@pytest.mark.parametrize(
    "role", ["roles/owner", "roles/editor", "roles/viewer", "storage.admin", "serviceAccountTokenCreator"]
)
def test_no_wide_role_is_granted(terraform, role):
    assert role not in terraform.code()


def test_rights_on_a_project_are_those_of_nodes_and_two_roles_with_listed_permissions(terraform):
    granted = {body["role"] for body in terraform.resources("google_project_iam_member").values()}
    (role,) = terraform.resources("google_project_iam_custom_role").values()

    assert granted == {
        "roles/container.defaultNodeServiceAccount",
        '${google_project_iam_custom_role.vertex["Task"].id}',
        '${google_project_iam_custom_role.vertex["Submitter"].id}',
    }
    assert role["permissions"] == "${each.value.permissions}"


def test_on_vertex_a_task_starts_no_pipeline_and_neither_role_deletes_or_reaches_other_services(terraform):
    found = terraform.locals()
    task, submitter = {*found["vertex_lineage"], *found["vertex_jobs"]}, set(found["vertex_pipelines"])

    assert all(re.fullmatch(r"aiplatform\.[a-zA-Z]+\.[a-zA-Z]+", each) for each in task | submitter)
    assert not {each for each in task if "pipelineJobs" in each or "schedules" in each}
    assert {each for each in task | submitter if each.endswith((".delete", ".setIamPolicy"))} == {
        "aiplatform.schedules.delete"
    }
    assert {each.split(".")[1] for each in submitter if each.endswith((".create", ".update", ".cancel"))} == {
        "pipelineJobs",
        "schedules",
    }


def test_only_trainers_and_champions_are_overwritten_in_run_directories(terraform):
    grants = terraform.locals()["grants"]
    on_runs = {
        (account, each["role"]): each["condition"]
        for account, of in grants.items()
        for each in of
        if each["bucket"] == "runs"
    }
    movers = {account: condition for (account, role), condition in on_runs.items() if role == "objectUser"}

    assert movers == {"trainer": "${local.below_runs}", "evaluator": "${local.champions}"}


def test_every_grant_on_the_objects_of_run_directories_has_a_condition(terraform):
    for of in terraform.locals()["grants"].values():
        for each in of:
            if each["bucket"] == "runs" and each["role"] != "legacyBucketReader":
                assert each["condition"]


def test_every_bucket_is_closed_unversioned_and_has_a_lifecycle(terraform):
    buckets = terraform.resources("google_storage_bucket")

    assert list(buckets) == ["google_storage_bucket.buckets"]
    bucket = buckets["google_storage_bucket.buckets"]
    assert bucket["uniform_bucket_level_access"] is True
    assert bucket["public_access_prevention"] == "enforced"
    assert bucket["versioning"] == [{"enabled": False}]
    assert bucket["soft_delete_policy"]
    assert bucket["lifecycle_rule"]


def test_the_bucket_forgets_the_files_of_rollouts_as_the_library_names_them(terraform):
    rules = terraform.resources()["google_storage_bucket.buckets"]["dynamic"]
    condition = rules[0]["lifecycle_rule"]["content"][0]["condition"][0]
    source = (ROOT / "reward_finetuning/storage/artifacts/rollouts.py").read_text("utf-8")
    named = set(re.findall(r'f"(\w+)-\{micro_batch:05d\}\.safetensors"', source))

    assert condition["matches_suffix"] == "${local.rollout_files}"
    assert named == {"trajectories", "images"}
    for kind in named:
        assert f'"{kind}"' in terraform.locals()["rollout_files"]


def test_the_database_has_no_public_address_and_speaks_tls(terraform):
    (instance,) = terraform.resources("google_sql_database_instance").values()
    (address,) = instance["settings"][0]["ip_configuration"]

    assert address["ipv4_enabled"] is False
    assert address["private_network"]
    assert address["ssl_mode"] == "ENCRYPTED_ONLY"


def test_no_secret_has_a_value_in_terraform(terraform):
    assert not terraform.resources("google_secret_manager_secret_version")
    assert not terraform.resources("google_sql_user")
    assert not re.search(r"password\s*=", terraform.code())


def test_the_control_plane_is_not_open_to_everybody(terraform):
    assert "default" not in terraform.named("variable")["control_plane_cidrs"]


def test_every_variable_is_described_and_used(terraform):
    for name, body in terraform.named("variable").items():
        assert body["description"]
        assert body["type"]
        assert f"var.{name}" in terraform.code(), f"variable {name} is used nowhere"


def test_every_reference_has_something_behind_it(terraform):
    code = terraform.code()
    known = set(terraform.resources()) | {f"local.{name}" for name in terraform.locals()}
    known |= {f"var.{name}" for name in terraform.named("variable")}
    found = set(re.findall(r"\b(?:var|local|google_\w+)\.\w+", code))

    assert not found - known


def test_the_example_sets_variables_that_exist_and_all_that_have_no_default(terraform):
    variables = terraform.named("variable")
    example = (ROOT / "infra/terraform/example.tfvars").read_text("utf-8")
    given = set(re.findall(r"^(\w+)\s*=", example, flags=re.MULTILINE))

    assert given <= set(variables)
    assert {name for name, body in variables.items() if "default" not in body} <= given
