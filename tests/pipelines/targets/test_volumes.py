"""Volumes of pools: what is refused, what tasks and TrainJobs mount, and which folders all pools share."""

import json

import pytest

from reward_finetuning.config import UserError, load_config
from reward_finetuning.pipelines.remote.preflight import check_readable, examine
from reward_finetuning.pipelines.remote.service import Service
from reward_finetuning.pipelines.targets.cluster import load_cluster
from reward_finetuning.pipelines.targets.train_job import train_job_settings

ALL = [
    {"claim": "rft-data", "path": "/data"},
    {"secret": "keys", "path": "/keys"},
    {"config_map": "ca", "path": "/ca/"},
    {"empty_dir": "scratch", "size": "100Gi", "path": "/scratch"},
]


@pytest.fixture
def cluster(tmp_path):
    """A cluster file with these pools, loaded."""

    def load(pools, **kfp):
        path = tmp_path / "cluster.yaml"
        path.write_text(json.dumps({"kfp": kfp, "pools": pools}), encoding="utf-8")  # is YAML
        return load_cluster(path)

    return load


def test_tasks_mount_each_kind_of_volume(package):
    compiled = package("kfp", pools={"every": {"volumes": ALL}})

    for _, pod in compiled.pods():
        (claim,) = pod["pvcMount"]
        assert (claim["constant"], claim["mountPath"]) == ("rft-data", "/data")
        assert [(s["secretName"], s["mountPath"]) for s in pod["secretAsVolume"]] == [("keys", "/keys")]
        assert [(c["configMapName"], c["mountPath"]) for c in pod["configMapAsVolume"]] == [("ca", "/ca")]
        scratch = pod["emptyDirMounts"][-1]
        assert (scratch["volumeName"], scratch["mountPath"], scratch["sizeLimit"]) == ("scratch", "/scratch", "100Gi")


def test_the_nodes_of_a_train_job_mount_what_the_pool_train_mounts(cluster):
    job = train_job_settings(cluster({"train": {"num_nodes": 2, "volumes": ALL}}))

    assert [each["mountPath"] for each in job.volume_mounts] == ["/data", "/keys", "/ca", "/scratch"]
    assert list(job.volumes) == [
        {"name": "rft-data", "persistentVolumeClaim": {"claimName": "rft-data"}},
        {"name": "keys", "secret": {"secretName": "keys"}},
        {"name": "ca", "configMap": {"name": "ca"}},
        {"name": "scratch", "emptyDir": {"sizeLimit": "100Gi"}},
    ]


@pytest.mark.parametrize(
    ("volumes", "message"),
    [
        ([{"path": "/data"}], "/data has no source: name one of claim, secret, config_map, empty_dir"),
        ([{"claim": "a", "secret": "b", "path": "/data"}], "/data has claim and secret: name one of"),
        ([{"claim": "a"}], r"volumes.0.path"),
        ([{"claim": "A_b", "path": "/data"}], "claim: is written like rft-data, got 'A_b'"),
        ([{"claim": "a", "path": "data"}], "path: is an absolute path, like /data, got 'data'"),
        ([{"claim": "a", "path": "/"}], "is an absolute path, like /data"),
        ([{"claim": "a", "path": "/data/../etc"}], "is an absolute path, like /data"),
        ([{"claim": "a", "path": "/data//b"}], "is an absolute path, like /data"),
        ([{"claim": "a", "path": "/dev/shm"}], "is set by shared_memory"),
        ([{"claim": "a", "path": "/opt"}], "would hide /opt/venv of the image"),
        ([{"claim": "a", "path": "/etc/ssl"}], "would hide /etc of the image"),
        ([{"claim": "a", "path": "/gcs/bucket"}], "would hide /gcs of the image, Argo or Kubeflow Pipelines"),
        ([{"claim": "a", "path": "/tmp"}], "/tmp holds temporary files of one pod"),
        ([{"claim": "a", "path": "/data", "size": "1Gi"}], "size=1Gi limits an empty_dir; a claim has its own size"),
        ([{"empty_dir": "a", "path": "/b", "size": "much"}], "size: is written like 16G or 16Gi, got 'much'"),
        ([{"empty_dir": "dshm", "path": "/b"}], "every pod has a volume dshm already"),
        ([{"claim": "a", "path": "/b"}, {"claim": "a", "path": "/c"}], "a is mounted twice, at /b and /c"),
        ([{"claim": "a", "path": "/b"}, {"secret": "a", "path": "/c"}], "a is mounted twice, at /b and /c"),
        ([{"claim": "a", "path": "/b"}, {"secret": "s", "path": "/b"}], r"/b \(a\) and /b \(s\) overlap"),
        ([{"claim": "a", "path": "/b"}, {"secret": "s", "path": "/b/c"}], r"/b \(a\) and /b/c \(s\) overlap"),
        ([{"claim": "a", "path": "/b", "host_path": "/"}], "unknown key 'pools.train.volumes.0.host_path'"),
    ],
)
def test_a_volume_that_cannot_be_mounted_is_refused_with_the_reason(cluster, volumes, message):
    with pytest.raises(UserError, match=message):
        cluster({"train": {"volumes": volumes}})


def test_a_scratch_folder_may_replace_tmp_and_others_be_below_it(cluster):
    volumes = [{"empty_dir": "big-tmp", "path": "/tmp", "size": "500Gi"}, {"claim": "hub", "path": "/tmp/hub"}]

    assert len(cluster({"train": {"volumes": volumes}}).pools.train.volumes) == 2


def test_a_pool_has_the_volumes_of_all_and_its_own_where_both_name_a_path_its_own(cluster):
    pools = {
        "every": {"volumes": [{"claim": "rft-data", "path": "/data"}, {"empty_dir": "small", "path": "/scratch"}]},
        "train": {"volumes": [{"empty_dir": "large", "path": "/scratch", "size": "1Ti"}]},
    }

    loaded = cluster(pools).pools

    assert [each.name for each in loaded.train.volumes] == ["rft-data", "large"]
    assert [each.name for each in loaded.sample.volumes] == ["rft-data", "small"]


def test_vertex_refuses_volumes(package):
    with pytest.raises(UserError, match=r"volumes: Vertex mounts no Kubernetes volumes: use gs://"):
        package("vertex", pools={"every": {"volumes": ALL[:1]}})


def test_a_claim_that_every_pool_mounts_is_a_shared_folder(cluster):
    loaded = cluster({"every": {"volumes": ALL}, "train": {"cpu": 4}}, shared_folders=["/mnt/nfs"])

    assert loaded.shared_folders() == ("/mnt/nfs", "/data")


def config_in(folder):
    return load_config("pipelines/runs/shapes-prdp.yaml", [f"run_root={folder}"])


def refusals(config, cluster):
    return "; ".join(examine(config, Service.KFP, cluster).refusals)


def test_a_run_may_be_in_a_claim_that_every_pool_mounts(cluster):
    assert refusals(config_in("/data/runs"), cluster({"every": {"volumes": ALL}})) == ""


@pytest.mark.parametrize("root", ["/keys/runs", "/scratch/runs", "/data2/runs"])
def test_a_run_is_refused_in_a_folder_that_pods_do_not_share(cluster, root):
    refused = refusals(config_in(root), cluster({"every": {"volumes": ALL}}))

    assert f"run_root={root}" in refused
    assert "a folder of a claim that every pool" in refused


def test_a_run_is_refused_in_a_claim_that_some_pools_lack_and_they_are_named(cluster):
    some = cluster({"train": {"volumes": ALL}, "sample": {"volumes": ALL[:1]}})

    refused = refusals(config_in("/data/runs"), some)

    assert "light, export, reward lack the claim rft-data: mount it in pools.every.volumes" in refused


def test_two_claims_at_one_path_are_no_shared_folder(cluster):
    other = [{"claim": "other", "path": "/data"}]
    mixed = cluster({"every": {"volumes": ALL}, "train": {"volumes": other}})

    assert mixed.shared_folders() == ()


def test_following_needs_a_machine_that_mounts_the_claim(cluster, tmp_path):
    absent = cluster({"every": {"volumes": ALL}})
    mounted = cluster({"every": {"volumes": [{"claim": "rft-data", "path": str(tmp_path / "claim")}]}})
    (tmp_path / "claim").mkdir()

    check_readable(config_in("gs://bucket/runs"), absent)
    check_readable(config_in(tmp_path / "claim" / "runs"), mounted)
    with pytest.raises(UserError, match=r"in the claim rft-data, which this machine does not mount at /data"):
        check_readable(config_in("/data/runs"), absent)


@pytest.mark.parametrize(
    "env",
    [
        {"AWS_SECRET_ACCESS_KEY": "wJalrXUt"},
        {"MLFLOW_TRACKING_PASSWORD": "hunter2"},
        {"HF_TOKEN": "hf_x"},
        {"openai_api_key": "sk-x"},
        {"HTTPS_PROXY": "http://user:pw@proxy:3128"},
    ],
)
def test_a_secret_as_a_literal_is_refused_with_the_setting_that_takes_it(cluster, env):
    with pytest.raises(
        UserError, match=rf"would show a secret .*secrets: {{NAME_OF_SECRET: {{{next(iter(env))}: KEY}}"
    ):
        cluster({"every": {"env": env}})


def test_the_variables_of_an_s3_store_reach_every_task(package):
    env = {
        "AWS_ENDPOINT_URL_S3": "http://seaweedfs.kubeflow.svc.cluster.local:9000",
        "AWS_REGION": "us-east-1",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/secrets/eks/token",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    }
    keys = {"store": {"AWS_ACCESS_KEY_ID": "accesskey", "AWS_SECRET_ACCESS_KEY": "secretkey"}}

    compiled = package("kfp", pools={"every": {"env": env, "secrets": keys}})

    for _, container in compiled.containers():
        assert env.items() <= {each["name"]: each["value"] for each in container["env"]}.items()
    for _, pod in compiled.pods():
        pairs = [(pair["envVar"], pair["secretKey"]) for each in pod["secretAsEnv"] for pair in each["keyToEnv"]]
        assert pairs == [("AWS_ACCESS_KEY_ID", "accesskey"), ("AWS_SECRET_ACCESS_KEY", "secretkey")]
