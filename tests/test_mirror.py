"""The tests have the folders of the code, and a module with functions has a test file of its name.

Where a behaviour needs several modules together, one file tests them all: COVERAGE names the modules that have no test
file of their own, by the file that tests them.
"""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent

COVERAGE = {
    # The launcher is one state machine against a Kubernetes API; settings are read while a manifest is made.
    "components/launcher/test_attempt": "components.launcher.jobs",
    "components/launcher/test_manifest": "components.launcher.settings",
    # Fields and ranges are tested through the run file that holds them.
    "config/test_load": (
        "config.base config.either config.run config.sections.evaluation config.sections.loop config.sections.model "
        "config.sections.reward"
    ),
    "objectives/test_ddpo": "config.sections.objective",
    "steps/eight_bit/test_training": "training.optimizer",
    "steps/test_updates": "config.sections.training training.learner training.update steps.train_epoch",
    "test_server_errors": "config.errors",
    # A grid, its noise and its steps are tested by what a rollout makes of them.
    "diffusion/test_ddim": "diffusion.step",
    "diffusion/test_flow": "diffusion.flow_cps diffusion.flow_sde diffusion.grid",
    "diffusion/test_rollout": "diffusion.noise records",
    # Evaluation and promotion are tested by their steps, from run directories.
    "evaluation/test_candidates": "evaluation.side_by_side evaluation.task steps.plan_evaluation",
    "evaluation/test_parts": "evaluation.subjects",
    "steps/test_evaluation": "evaluation.pages steps.evaluate steps.evaluate_shard",
    "steps/test_promote": "evaluation.champion evaluation.contest",
    "steps/test_gate": "evaluation.objections steps.outputs",
    "policy/export/test_mlflow_model": "policy.export.finetuned_policy",
    "policy/export/test_weights": "evaluation.exports",
    # The protocol's cells and its noise floor are tested by the two passes that read them.
    "objectives/test_two_pass": "objectives.cells objectives.noise_floor objectives.one_pass objectives.protocol",
    # A command is tested where what it calls is; its texts in test_app.
    "pipelines/cli/test_app": (
        "pipelines.cli.cluster.compile pipelines.cli.options pipelines.cli.run pipelines.cli.status "
        "pipelines.cli.tables"
    ),
    "pipelines/estimate/test_cost": "pipelines.cli.files.estimate pipelines.estimate.networks",
    "pipelines/estimate/test_workflow": "pipelines.estimate.workflow_size pipelines.estimate.workflow_status",
    "pipelines/graphs/test_evaluation": "pipelines.cli.evaluate",
    "report/test_summary": "report.markdown",
    "tracking/test_server": "tracking.sender",
    "pipelines/remote/test_submit": (
        "pipelines.cli.cluster.connection pipelines.cli.cluster.submit pipelines.remote.clients.connect "
        "pipelines.remote.clients.kubeflow_access pipelines.remote.clients.kubeflow_errors "
        "pipelines.remote.clients.protocol pipelines.remote.clients.vertex_access "
        "pipelines.remote.service inputs.names"
    ),
    "pipelines/remote/test_submit_runs": "pipelines.remote.clients.kubeflow pipelines.remote.clients.vertex",
    "pipelines/remote/test_schedules": "pipelines.cli.cluster.schedule",
    "pipelines/remote/test_kubeflow_tasks": "pipelines.remote.clients.kubeflow_tasks",
    "pipelines/remote/test_follow": "pipelines.remote.progress",
    # Graphs are tested by the packages that they compile to.
    "pipelines/graphs/test_package": (
        "pipelines.graphs.conditions pipelines.graphs.first_task pipelines.graphs.online pipelines.graphs.rollouts"
    ),
    "pipelines/graphs/test_staged": "pipelines.graphs.offline",
    "pipelines/graphs/test_retraining": "pipelines.local.retrain",
    "pipelines/local/test_launch": "pipelines.local.runner",
    "pipelines/local/test_preflight": "pipelines.local.folder",
    "pipelines/tuning/test_search": "pipelines.cli.tune",
    "pipelines/targets/test_cluster": "pipelines.targets.pool pipelines.targets.quantities",
    "pipelines/targets/test_refusals": "pipelines.targets.target",
    # A policy is tested as a whole, on small pipelines of each family.
    "policy/test_load": "policy.conditioning.encoder policy.decoder policy.denoiser policy.sampling policy.save",
    "policy/test_flow_families": (
        "config.sections.sampling policy.pretrained.architecture policy.pretrained.flow_schedule "
        "policy.conditioning.text_encoders"
    ),
    "policy/test_sources": (
        "policy.export.original_names policy.pipeline policy.pretrained.hub policy.pretrained.source"
    ),
    "policy/eight_bit/test_quantization": "policy.quantization",
    "policy/lora/test_adapter": "policy.restore training.moving_average",
    "policy/test_half": "training.engine",
    "prompts/test_text": "prompts.prompt_set prompts.read",
    # Parts of the page are tested on the page.
    "report/test_page": (
        "report.charts.drawing report.charts.kl_by_step report.html report.pictures.cards report.pictures.gallery "
        "report.pictures.picture report.sections"
    ),
    "report/test_runs": "report.pictures.rows report.runs_page",
    "report/statistics/test_intervals": "report.statistics.pairing",
    # Scorers of one architecture are tested together, against the network of transformers.
    "rewards/models/test_clip_scorers": (
        "rewards.models.aesthetic rewards.models.clip_score rewards.models.hpsv2 rewards.models.hpsv2_1 "
        "rewards.models.pickscore rewards.networks.batching rewards.networks.clip_towers rewards.networks.devices "
        "rewards.networks.open_clip"
    ),
    "rewards/models/test_image_reward": (
        "rewards.networks.blip rewards.networks.blip_attention rewards.networks.linear_head"
    ),
    "rewards/models/test_fetching": "rewards.catalogue",
    "rewards/models/test_hpsv3": "rewards.networks.qwen2_vl",
    "rewards/test_plugins": "rewards.function rewards.models.model rewards.scorer",
    "rewards/test_weighted": "rewards.checked",
    "rewards/judge/test_chat": "config.sections.chat rewards.judge.messages rewards.judge.usage",
    "rewards/test_verification": "rewards.official.environment rewards.verification_pictures",
    "rewards/remote/test_http": "rewards.remote.deadlines rewards.remote.exchange",
    "rewards/remote/test_server": "rewards.remote.admission",
    # The official packages live in an environment of their own: make test-rewards.
    "rewards_official/test_parity": (
        "rewards.official.calls rewards.official.hpsv2 rewards.official.hpsv2_1 rewards.official.image_reward "
        "rewards.official.pickscore rewards.official.torchvision_shim"
    ),
    # The networks of the built-in world are tested by pretraining them.
    "shapes/test_pretrain": (
        "shapes.batches shapes.learning_rate shapes.measure shapes.text_encoder shapes.unet shapes.vae"
    ),
    "rewards/test_shapes": "shapes.detection shapes.judge",
    # The light steps and the loop are tested on one run from its first task to its last.
    "steps/test_steps": (
        "steps.draw steps.next_epochs steps.plan steps.reward "
        "storage.artifacts.rewards storage.artifacts.rollouts"
    ),
    "steps/test_determinism": "steps.run_epochs",
    "steps/test_monitor": "training.monitor",
    "storage/buckets/test_store": (
        "storage.buckets.bucket storage.buckets.patience storage.buckets.transfers "
        "storage.buckets.gcs.client storage.buckets.gcs.errors storage.buckets.gcs.service"
    ),
    "storage/test_store": "storage.manifest storage.open storage.reference storage.uri",
    "storage/test_run_directory": "storage.artifacts.policies",
    "steps/attempts/test_attempt": "storage.refusal",
    "pipelines/cli/test_report": "storage.artifacts.evaluations",
    "tracking/test_mlflow": "tracking.journal tracking.lineage tracking.system tracking.table tracking.tracker",
}  # fmt: skip

LISTED = {module: test for test, modules in COVERAGE.items() for module in modules.split()}


def has_logic(path):
    """Whether a module has a function with a body; the docstring and `...` of a Protocol are none."""
    functions = (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.FunctionDef))
    return any(not all(_is_constant(line) for line in function.body) for function in functions)


def _is_constant(line):
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)


def modules():
    """Short name -> path of every module that a test file could be named after."""
    steps = [*(ROOT / "pipelines").rglob("*.py"), *(ROOT / "components" / "launcher").glob("*.py")]
    paths = {path.relative_to(ROOT): path for path in steps}
    library = ROOT / "reward_finetuning"
    paths |= {path.relative_to(library): path for path in library.rglob("*.py")}
    return {short: path for short, path in paths.items() if not path.name.startswith("__") and has_logic(path)}


@pytest.mark.parametrize("short", sorted(modules()), ids=str)
def test_a_module_with_logic_has_a_test_file_of_its_name_or_is_listed_with_the_one_that_tests_it(short):
    own = TESTS / short.with_name(f"test_{short.name}")
    listed = LISTED.get(".".join(short.with_suffix("").parts))

    assert own.exists() != (listed is not None), f"{own.relative_to(ROOT)} exists: {own.exists()}; listed: {listed}"


def test_the_list_names_modules_and_tests_that_exist():
    names = {".".join(short.with_suffix("").parts) for short in modules()}

    assert sorted(set(LISTED) - names) == []
    assert [test for test in COVERAGE if not (TESTS / f"{test}.py").exists()] == []
