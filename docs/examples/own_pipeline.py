"""A pipeline of your own: train with the components of this project, then use the policy in a component of yours.

python own_pipeline.py            compile the pipeline to own_pipeline.yaml
python own_pipeline.py --run      run it on this machine, on the built-in model
"""

import sys

from kfp import compiler, dsl, local

from reward_finetuning.components.next_epochs import next_epochs
from reward_finetuning.components.run_epochs import run_epochs
from reward_finetuning.config import RunConfig

# Any image that has reward-finetuning[train] installed. kfp.local wants "python" in its name and does not use it.
IMAGE = "registry.example/python-reward-finetuning"

CONFIG = RunConfig.model_validate(
    {
        "name": "own-pipeline",
        "model": {"source": "shapes", "trainable": "lora"},
        "prompts": {"train": "shapes:train", "prompts_per_epoch": 2},
        "sampling": {"num_steps": 2, "guidance_scale": 1.0, "images_per_prompt": 4, "micro_batch_size": 8},
        "reward": {"weights": {"shapes": 1.0}},
        "objective": {"name": "prdp", "kl_weight": 0.3, "clip_range": 1.0e-3},
        "loop": {"epochs": 1, "evaluate_every": 1},
        "evaluation": {"prompt_sets": {"heldout": "shapes:heldout"}, "images_per_prompt": 1},
        "tracking": {"enabled": False},
    }
)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def size_of_policy(run: str, policy: dsl.Input[dsl.Model]) -> int:
    """Bytes of the trained weights. The artifact is a small file that refers to a folder of the run directory."""
    from reward_finetuning.config import parse_config
    from reward_finetuning.storage import RunDirectory, read_reference
    from reward_finetuning.storage.recorded_config import recorded_config

    directory = RunDirectory(parse_config(recorded_config(run)))
    folder, _ = directory.open(read_reference(policy.path))
    return sum(path.stat().st_size for path in folder.iterdir())


begin = dsl.component(next_epochs, base_image=IMAGE, install_kfp_package=False)
train = dsl.component(run_epochs, base_image=IMAGE, install_kfp_package=False)


@dsl.pipeline(name="own-pipeline")
def own_pipeline() -> int:
    """Begin or continue the run, train all epochs that are left, then the component above."""
    start = begin(config=CONFIG.model_dump_json())
    trained = train(config=start.outputs["run"], plan=start.outputs["plan"])
    return size_of_policy(run=start.outputs["run"], policy=trained.outputs["policy"]).output


if __name__ == "__main__":
    if "--run" in sys.argv:
        local.init(local.SubprocessRunner(use_venv=False))
        print("bytes of the policy:", own_pipeline().output)
    else:
        compiler.Compiler().compile(own_pipeline, "own_pipeline.yaml")
