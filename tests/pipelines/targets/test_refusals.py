import pytest

from reward_finetuning.config import UserError
from reward_finetuning.pipelines.targets.cluster import Cluster
from reward_finetuning.pipelines.targets.refusals import refuse
from reward_finetuning.pipelines.targets.services import TargetName
from reward_finetuning.pipelines.targets.target import Target


@pytest.mark.parametrize(
    ("target", "pool", "message"),
    [
        ("vertex", {"node_selectors": {"a": "b"}}, r"pools.train.node_selectors: Vertex chooses nodes by machine_type"),
        ("vertex", {"tolerations": [{"operator": "Exists"}]}, r"tolerations: Vertex has no taints"),
        ("vertex", {"shared_memory": "16Gi"}, r"shared_memory: Vertex sizes /dev/shm itself"),
        ("vertex", {"queue": "a"}, r"queue: Vertex has no Kueue"),
        ("vertex", {"secrets": {"s": {"A": "k"}}}, r"secrets: Vertex reads no Kubernetes secrets: .* service account"),
        ("vertex", {"image_pull_policy": "Always"}, r"image_pull_policy"),
        ("vertex", {"image_pull_secrets": ["a"]}, r"image_pull_secrets: Vertex pulls from Artifact Registry"),
        ("vertex", {"run_as_user": 7}, r"run_as_user: Vertex takes the user that the image says"),
        ("vertex", {"spot": True}, r"spot: Vertex has it in a CustomJob alone: give machine_type too"),
        ("vertex", {"timeout": "1d"}, r"timeout: Vertex has it in a CustomJob alone"),
        ("vertex", {"boot_disk_gb": 200}, r"boot_disk_gb: Vertex has it in a CustomJob alone"),
        ("vertex", {"num_nodes": 2}, r"num_nodes: 2 nodes are a CustomJob on Vertex: give machine_type too"),
        ("vertex", {"accelerator": "nvidia-tesla-a100"}, r"nvidia-tesla-a100 needs a CustomJob: give machine_type too"),
        ("vertex", {"accelerator": None}, r"accelerator: Vertex must know which GPU, e.g. nvidia-l4"),
        ("vertex", {"cpu": 97}, r"cpu: Vertex gives a task at most 96 cores, got 97"),
        ("vertex", {"memory": "16Gi"}, r"memory: Vertex reads K, M and G alone, got 16Gi: write e.g. 16G"),
        ("vertex", {"memory": "625G"}, r"memory: Vertex gives a task at most 624G, got 625G"),
        ("vertex", {"machine_type": "a", "cpu": 8}, r"cpu: machine_type a says it already"),
        ("kfp", {"boot_disk_gb": 200}, r"boot_disk_gb: KFP 2.17 asks for no disk: give the node pool's boot disk"),
    ],
)
def test_what_a_target_cannot_do_is_refused(target, pool, message):
    cluster = Cluster.model_validate({"pools": {"train": pool}})

    with pytest.raises(UserError, match=rf"^--target {target}: .*{message}"):
        Target(TargetName(target), cluster)


def test_a_light_task_is_no_custom_job():
    cluster = Cluster.model_validate({"pools": {"light": {"machine_type": "e2-standard-4"}}})

    with pytest.raises(UserError, match=r"pools.light.machine_type: light tasks need no CustomJob"):
        refuse(cluster, TargetName.VERTEX)


def test_what_all_pools_ask_for_is_refused_once():
    cluster = Cluster.model_validate({"pools": {"every": {"queue": "a", "timeout": "1d"}}})

    with pytest.raises(
        UserError, match=r"pools.{light,export,sample,reward,train}.queue: Vertex has no Kueue; "
    ) as told:
        refuse(cluster, TargetName.VERTEX)

    assert "pools.light.timeout: Vertex has it in a CustomJob alone: light tasks are none: drop it" in str(told.value)


def test_all_refusals_are_said_at_once():
    cluster = Cluster.model_validate({"pools": {"sample": {"queue": "a"}, "train": {"spot": True}}})

    with pytest.raises(UserError, match=r"pools.sample.queue: .*; pools.train.spot: "):
        refuse(cluster, TargetName.VERTEX)


def test_vertex_is_refused_more_shards_than_it_collects(package):
    shards = ("loop.granularity=split", "sampling.micro_batch_size=2", "loop.num_shards=101")

    with pytest.raises(UserError, match=r"loop.num_shards=101, but Vertex collects at most 100 shards"):
        package("vertex", *shards)

    assert package("kfp", *shards).path.exists()
