"""What kustomize builds of infra/kubernetes."""

import json
import re
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = "1.34"  # GKE's regular channel, or the newest schema below it
SCHEMAS = {
    path.stem: json.loads(path.read_text("utf-8")) for path in Path(__file__).with_name("schemas").glob("*.json")
}
ROLES = {"trainer", "sampler", "evaluator"}
IDENTITY = "iam.gke.io/gcp-service-account"


def settings():
    lines = (ROOT / "infra/kubernetes/settings/settings.env").read_text("utf-8").split()
    return dict(line.split("=", 1) for line in lines)


def container(mlflow):
    (only,) = mlflow.one("Deployment", "mlflow")["spec"]["template"]["spec"]["containers"]
    return only


def test_every_object_keeps_to_its_schema(every_build):
    for each in every_build.objects:
        if each["kind"] in SCHEMAS:
            jsonschema.validate(each, SCHEMAS[each["kind"]])
        else:
            kubernetes_validate.validate(each, KUBERNETES, strict=True)


def test_the_pods_of_a_train_job_keep_to_kubernetes_schema(trainer):
    (runtime,) = trainer.all("ClusterTrainingRuntime")
    (job,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "node"}}

    pod["template"] = job["template"]["spec"]["template"]
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_the_nodes_of_a_train_job_cannot_write_to_their_image_and_run_as_the_trainer(trainer, kubeflow):
    (job,) = trainer.one("ClusterTrainingRuntime", "torch-distributed")["spec"]["template"]["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    (node,) = pod["containers"]

    assert node["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert kubeflow.one("ServiceAccount", pod["serviceAccountName"])


@pytest.mark.parametrize("kind", sorted(SCHEMAS))
def test_a_schema_refuses_what_it_does_not_know(kind):
    given = {"kind": kind, "metadata": {"name": "x"}, "sepc": {}}

    messages = [error.message for error in jsonschema.Draft202012Validator(SCHEMAS[kind]).iter_errors(given)]

    assert "Additional properties are not allowed ('sepc' was unexpected)" in messages


def test_the_cloud_is_known_from_the_settings_alone_and_they_are_not_deployed(every_build):
    assert not [each for each in every_build.all("ConfigMap") if each["metadata"]["name"] == "rft-settings"]


def test_terraform_writes_every_setting(terraform):
    written = terraform.named("output")["settings"]["value"]
    accounts, secrets = terraform.locals()["accounts"], terraform.locals()["mlflow_secrets"]
    own = set(re.findall(r'"(\w+)=\$', written))
    of_secrets = {name.replace("-", "_") for name in re.findall(r"mlflow-[\w-]+", secrets)}

    assert set(settings()) == own | set(accounts) | of_secrets


def test_every_role_runs_as_its_account_and_terraform_lets_it(kubeflow, mlflow, terraform):
    accounts = terraform.locals()["accounts"]

    for role, account in accounts.items():
        for name in account["service_accounts"]:
            found = (mlflow if account["namespace"] == "mlflow" else kubeflow).one("ServiceAccount", name)
            assert found["metadata"]["namespace"] == account["namespace"]
            assert found["metadata"]["annotations"][IDENTITY] == settings()[role]
    assert set(accounts) == ROLES | {"mlflow", "viewer"}


def test_mlflow_is_not_root_and_cannot_write_to_its_image(mlflow):
    pod = mlflow.one("Deployment", "mlflow")["spec"]["template"]["spec"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(mlflow)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_mlflow_asks_for_a_password_and_answers_to_its_names_alone(mlflow):
    (command,) = container(mlflow)["args"]
    variables = {each["name"]: each.get("value") for each in container(mlflow)["env"]}

    assert "--app-name basic-auth" in command
    assert '--allowed-hosts "$ALLOWED_HOSTS"' in command
    assert "disable-security" not in command
    assert "mlflow.mlflow.svc.cluster.local:5000" in variables["ALLOWED_HOSTS"].split(",")
    assert "*" not in variables["ALLOWED_HOSTS"]


def test_mlflow_serves_artifacts_out_of_the_bucket(mlflow):
    assert "--serve-artifacts" in container(mlflow)["args"][0]
    assert {"name": "ARTIFACTS", "value": settings()["mlflow_artifacts"]} in container(mlflow)["env"]


def test_mlflow_on_google_and_the_database_elsewhere_are_images_by_digest(mlflow, mlflow_plain):
    (database,) = mlflow_plain.one("StatefulSet", "postgres")["spec"]["template"]["spec"]["containers"]

    for image in (container(mlflow)["image"], database["image"]):
        assert re.search(r"@sha256:[0-9a-f]{64}$", image)


def test_probes_ask_what_is_open_without_a_password(mlflow):
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container(mlflow)[probe]["httpGet"] == {"path": "/health", "port": "http"}


def test_secrets_come_from_secret_manager_and_no_value_is_here(mlflow, every_build):
    volumes = mlflow.one("Deployment", "mlflow")["spec"]["template"]["spec"]["volumes"]
    (volume,) = [each for each in volumes if each["name"] == "secrets"]
    mounted = yaml.safe_load(mlflow.one("SecretProviderClass", "mlflow")["spec"]["parameters"]["secrets"])

    assert volume["csi"]["volumeAttributes"] == {"secretProviderClass": "mlflow"}
    assert {each["path"]: each["resourceName"] for each in mounted} == {
        "backend-store-uri": settings()["mlflow_backend_store_uri"],
        "flask-secret-key": settings()["mlflow_flask_secret_key"],
        "basic-auth.ini": settings()["mlflow_basic_auth"],
    }
    assert not every_build.all("Secret")  # nor the public keys of upstream's store


def test_a_network_policy_selects_mlflow_and_lets_pipelines_in(mlflow):
    policy = mlflow.one("NetworkPolicy", "mlflow")["spec"]
    on_google = mlflow.one("NetworkPolicy", "mlflow-google")["spec"]
    labels = mlflow.one("Deployment", "mlflow")["spec"]["template"]["metadata"]["labels"]

    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    (pipelines, _) = policy["ingress"][0]["from"]
    assert pipelines["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "kubeflow"}
    database = {"ipBlock": {"cidr": settings()["database_cidr"]}}
    assert on_google["podSelector"] == policy["podSelector"]
    assert {"to": [database], "ports": [{"port": 5432, "protocol": "TCP"}]} in on_google["egress"]


def test_a_drain_takes_one_of_two(mlflow):
    budget = mlflow.one("PodDisruptionBudget", "mlflow")["spec"]

    assert mlflow.one("Deployment", "mlflow")["spec"]["replicas"] > budget["minAvailable"] == 1


def test_no_pod_that_we_write_is_let_out_to_everything(kubeflow, mlflow):
    policies = [*mlflow.all("NetworkPolicy"), *kubeflow.all("NetworkPolicy")]

    for policy in policies:
        for rule in policy["spec"].get("egress", []):
            assert rule.get("to"), f"{policy['metadata']['name']}: a rule without `to` is the internet"
            assert {"ipBlock": {"cidr": "0.0.0.0/0"}} not in rule["to"]


@pytest.mark.parametrize("role", sorted(ROLES))
def test_a_run_reads_no_secret_and_execs_into_no_pod(kubeflow, role):
    bound = [
        each["roleRef"]["name"]
        for each in kubeflow.all("RoleBinding")
        if {"kind": "ServiceAccount", "name": f"rft-{role}", "namespace": "kubeflow"} in each["subjects"]
    ]
    rules = [rule for name in bound for rule in kubeflow.one("Role", name)["rules"]]
    touched = {resource for rule in rules for resource in rule["resources"]}

    assert bound
    assert touched.isdisjoint({"secrets", "pods/exec", "*"})
    assert not [rule for rule in rules if "*" in rule["verbs"]]


def test_where_the_store_is_s3_a_run_reads_the_one_secret_of_the_store(kubeflow_plain):
    rules = kubeflow_plain.one("Role", "rft-run")["rules"]

    secrets = [rule for rule in rules if "secrets" in rule["resources"]]
    assert [(rule["resourceNames"], rule["verbs"]) for rule in secrets] == [(["mlpipeline-minio-artifact"], ["get"])]


def test_a_failed_process_is_tried_again_like_a_vanished_pod_and_a_graph_is_not(kubeflow):
    text = kubeflow.one("ConfigMap", "workflow-controller-configmap")["data"]["workflowDefaults"]

    strategy = yaml.safe_load(text)["spec"]["templateDefaults"]["retryStrategy"]
    # The limit of a task replaces this one. What the expression admits is in tests/pipelines/targets/test_retries.py.
    assert strategy.pop("expression").startswith("not (lastRetry.message matches")
    assert strategy == {"retryPolicy": "Always", "limit": "0"}


def test_pods_of_runs_cannot_write_to_their_image_and_have_a_tmp(kubeflow, kubeflow_plain):
    for built in (kubeflow, kubeflow_plain):
        text = built.one("ConfigMap", "workflow-controller-configmap")["data"]["workflowDefaults"]
        patch = yaml.safe_load(yaml.safe_load(text)["spec"]["podSpecPatch"])
        (main,) = patch["containers"]

        assert main["name"] == "main"
        assert main["securityContext"] == {"readOnlyRootFilesystem": True}
        assert main["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
        assert patch["volumes"] == [{"name": "tmp", "emptyDir": {}}]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "task"}, "spec": patch}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_the_autoscaler_does_not_move_drivers(kubeflow):
    config = kubeflow.one("ConfigMap", "pipeline-install-config")["data"]

    assert json.loads(config["DRIVER_POD_ANNOTATIONS"]) == {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}


def test_kubeflow_takes_our_configs_and_runs_tasks_without_root(kubeflow):
    (server,) = kubeflow.one("Deployment", "ml-pipeline")["spec"]["template"]["spec"]["containers"]
    config = kubeflow.one("ConfigMap", "pipeline-install-config")["data"]

    assert {"name": "MAX_PARAMETER_BYTES", "value": "100000"} in server["env"]
    assert config["defaultSecurityContextRunAsNonRoot"] == "true"
    assert config["appVersion"], "the patch must not drop what upstream says"
    assert kubeflow.one("ConfigMap", "kfp-launcher")["data"]["defaultPipelineRoot"] == settings()["pipeline_root"]


@pytest.mark.parametrize(("overlay", "copy"), [("gke", "kubeflow"), ("plain", "kubeflow-plain")])
def test_what_is_built_here_is_the_overlay_but_for_its_remote_base(overlay, copy):
    overlays = ROOT / "infra/kubernetes/kubeflow/overlays"
    real, built = (
        yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
        for folder in (overlays / overlay, Path(__file__).with_name(copy))
    )

    def names(listed):
        return [Path(path).name for path in listed if path != "../upstream" and "ref=" not in path]

    assert [each for each in real["resources"] if each.endswith("/env/platform-agnostic?ref=2.17.0")]
    for key in ("resources", "components"):
        assert names(real[key]) == names(built[key])
    assert real["namespace"] == built["namespace"]


def test_every_gpu_pool_of_terraform_is_a_flavor_with_its_labels_and_taints(kueue, terraform):
    pools = terraform.named("variable")["gpu_pools"]["default"]
    flavors = {each["metadata"]["name"]: each["spec"] for each in kueue.all("ResourceFlavor")}

    assert set(flavors) == {"system", *pools}
    for name, pool in pools.items():
        labels = {
            "cloud.google.com/gke-nodepool": name,
            "cloud.google.com/gke-accelerator": pool["accelerator"],
            "node.kubernetes.io/instance-type": pool["machine_type"],
        }
        taints = [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]
        if pool["spot"]:
            labels["cloud.google.com/gke-spot"] = "true"
            taints.append({"key": "cloud.google.com/gke-spot", "value": "true", "effect": "NoSchedule"})
        assert flavors[name] == {"nodeLabels": labels, "nodeTaints": taints}


def test_the_queue_hands_out_as_many_gpus_as_the_pools_may_have(kueue, terraform):
    pools = terraform.named("variable")["gpu_pools"]["default"]
    (group,) = kueue.one("ClusterQueue", "rft")["spec"]["resourceGroups"]
    gpus = {
        flavor["name"]: resource["nominalQuota"]
        for flavor in group["flavors"]
        for resource in flavor["resources"]
        if resource["name"] == "nvidia.com/gpu"
    }

    assert gpus == {"system": 0} | {name: pool["max_nodes"] * pool["gpus"] for name, pool in pools.items()}


def test_every_gpu_task_of_the_cluster_file_has_a_node_pool(terraform):
    pools = terraform.named("variable")["gpu_pools"]["default"].values()
    cluster = yaml.safe_load((ROOT / "infra/cluster.gke.yaml").read_text("utf-8"))

    for role, wanted in cluster["pools"].items():
        if wanted.get("gpus"):
            machine = {key: wanted.get(key, False) for key in ("machine_type", "accelerator", "gpus", "spot")}
            assert [machine for pool in pools if machine.items() <= pool.items()] == [machine], role


def test_the_cluster_file_names_what_is_deployed(kubeflow, kueue, mlflow):
    cluster = yaml.safe_load((ROOT / "infra/cluster.gke.yaml").read_text("utf-8"))
    address = cluster["pools"]["every"]["env"]["MLFLOW_TRACKING_URI"]
    variables = {each["name"]: each.get("value") for each in container(mlflow)["env"]}

    assert kueue.one("LocalQueue", cluster["pools"]["every"]["queue"])
    assert kubeflow.one("ServiceAccount", cluster["kfp"]["service_account"])
    assert address.removeprefix("http://") in variables["ALLOWED_HOSTS"].split(",")
