"""The learning objectives, chosen by `name`."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from reward_finetuning.config.base import Frozen

Share = Annotated[float, Field(gt=0.0, lt=1.0)]


class PrdpConfig(Frozen):
    """Proximal reward difference prediction (arXiv:2402.08714)."""

    name: Literal["prdp"] = "prdp"

    kl_weight: PositiveFloat = 3e-5
    """beta, reward units per nat per latent element (mean over T). The paper's 3e-5 hardly acts; 1 to 10 keeps a Stable
    Diffusion near its reference. What acts depends on sizes: about std(r) / std(s)."""

    clip_range: PositiveFloat = 1e-4
    """epsilon, nats per latent element: how far a step's log-ratio may move in an epoch before it stops counting."""

    clipping: bool = True
    """False drops the proximal clipping (for the ablation; unstable)."""

    precision: Literal["float64", "float32"] = "float64"
    """In what the pairs are decided. float32, as in the paper's code, cannot resolve the maximum at its beta."""

    compares_images: ClassVar[bool] = True
    reads_reference: ClassVar[bool] = True


class ConvergenceConfig(Frozen):
    """When PPOD's stage ends: the accuracy on held-out pairs has stopped improving. The best weights are kept."""

    check_every: PositiveInt = 10
    """Updates between two looks at the held-out pairs."""

    patience: PositiveInt = 3
    """Looks without a new best before the stage ends."""

    heldout_share: Share = 0.1
    """Share of each prompt's images kept out of training for it."""


class PpodConfig(Frozen):
    """Proximal preference optimisation for diffusion models; an epoch is one stage of the paper."""

    name: Literal["ppod"] = "ppod"

    loss: Literal["cross_entropy", "brier", "reward_difference"] = "cross_entropy"
    """Of a pair's margin z: -log sigma(z), (1 - sigma(z))^2, or (z - (r_w - r_l))^2."""

    kl_weight: PositiveFloat = 1000.0
    """eta, what multiplies the log-ratios summed over T. |z| is at most 2 kl_weight T clip_range: choose both together;
    the defaults allow 10 at T = 50."""

    clip_range: PositiveFloat = 1e-4
    """epsilon, nats per latent element: the log-ratio to the reference beyond which a step counts no more."""

    clipping: bool = True
    """False drops the proximal clipping (for the ablation; unstable)."""

    pairs_per_update: PositiveInt = 64
    """M, pairs of images of one prompt drawn anew for each update."""

    reference: Literal["pretrained", "stage_start"] = "pretrained"
    """What log-ratios are to: the pretrained model as in the paper, or the policy that drew the stage's images."""

    convergence: ConvergenceConfig | None = ConvergenceConfig()
    """When a stage ends before training.updates_per_epoch updates; null: never."""

    compares_images: ClassVar[bool] = True

    @property
    def reads_reference(self) -> bool:
        """Whether the rollouts need log-probs under the reference."""
        return self.reference == "pretrained"


class DdpoConfig(Frozen):
    """Denoising diffusion policy optimisation with importance sampling (arXiv:2305.13301)."""

    name: Literal["ddpo"] = "ddpo"

    clip_range: PositiveFloat = 1e-4
    """epsilon of the clipped ratio exp(log_prob - log_prob_old)."""

    clipping: bool = True
    """False drops the clipping (for the ablation; unstable)."""

    per_prompt_normalisation: bool = True
    """Advantages from a running mean and standard deviation of each prompt's own rewards; false: of the epoch's."""

    buffer_size: PositiveInt = 32
    """Newest rewards of each prompt that the statistics are of."""

    min_count: PositiveInt = 16
    """Rewards that a prompt must have before its own statistics count; the epoch's serve until then."""

    max_advantage: PositiveFloat = 5.0
    """Advantages are clamped to this size."""

    compares_images: ClassVar[bool] = False
    reads_reference: ClassVar[bool] = False

    @model_validator(mode="after")
    def _statistics_can_count(self) -> Self:
        if self.per_prompt_normalisation and self.min_count > self.buffer_size:
            raise ValueError(
                f"min_count={self.min_count} rewards of a prompt never fit into buffer_size={self.buffer_size}: "
                "raise buffer_size, lower min_count, or set per_prompt_normalisation: false"
            )
        return self


class DpokConfig(Frozen):
    """Diffusion policy optimisation with KL regularisation (arXiv:2305.16381)."""

    name: Literal["dpok"] = "dpok"

    kl_weight: NonNegativeFloat = 0.01
    """beta: weight of the mean over cells of the KL to the pretrained model, in nats per latent element."""

    reward_weight: PositiveFloat = 10.0
    """alpha: what rewards are multiplied by."""

    clip_range: PositiveFloat = 1e-4
    """epsilon of the clipped ratio exp(log_prob - log_prob_old)."""

    clipping: bool = True
    """False drops the clipping."""

    value_baseline: bool = True
    """Subtract a learnt value of (x_t, t, prompt) from the reward; false: the epoch's mean reward. It is what
    the epochs before taught (in the first, the mean reward), so of offline rollouts it has seen the very rewards."""

    value_learning_rate: PositiveFloat = 1e-3
    """Adam's learning rate of the value network."""

    value_updates: PositiveInt = 1
    """Passes of the value network over an epoch's cells. Many passes learn the rewards by heart, a worse baseline than
    their mean: train/value_explained_variance below 0 says so."""

    value_hidden: PositiveInt = 64
    """Hidden units of the value network's two layers."""

    compares_images: ClassVar[bool] = False

    @property
    def reads_reference(self) -> bool:
        """Whether the rollouts need log-probs under the reference: for the measure of its pull."""
        return self.kl_weight > 0


class RwrConfig(Frozen):
    """Reward-weighted regression, and supervised finetuning on the best images (baselines of arXiv:2305.13301)."""

    name: Literal["rwr"] = "rwr"

    weighting: Literal["softmax", "best_share"] = "softmax"
    """`softmax`: weights proportional to exp(r / temperature). `best_share`: equal ones on the best, 0 on the rest."""

    temperature: PositiveFloat = 0.2
    """Of the softmax, in reward units."""

    share: Share = 0.25
    """Of the images that `best_share` keeps, rounded; at least one. Images tied at the edge share what is left."""

    among: Literal["prompt", "epoch"] = "prompt"
    """What an image is weighed against: the images of its prompt, or all of the epoch."""

    reads_reference: ClassVar[bool] = False

    @property
    def compares_images(self) -> bool:
        """Alone among the images of its prompt, every image would weigh the same."""
        return self.among == "prompt"


def _named(settings: object) -> object:
    """Without a name it is PRDP."""
    return {"name": "prdp", **settings} if isinstance(settings, dict) else settings


ObjectiveConfig = Annotated[
    PrdpConfig | PpodConfig | DdpoConfig | DpokConfig | RwrConfig,
    Field(discriminator="name"),
    BeforeValidator(_named),
]
"""How the policy is updated."""
