"""What is rewarded."""

from math import lcm
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from reward_finetuning.config.base import Frozen
from reward_finetuning.config.locations import Location, ServiceUrl
from reward_finetuning.config.sections.chat import ChatConfig

_COLUMNS = {"reward", "sample", "diversity", "clip_diversity", "kl"}

ScorerName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]
"""A column of rewards.parquet and a part of MLflow's keys; the names of existing columns are taken."""


class ScorerConfig(Frozen):
    """Settings of one scorer; a scorer refuses those that do not apply to it."""

    source: Location | None = None
    """Where its weights lie: a folder (or gs://BUCKET/PREFIX, or s3://BUCKET/PREFIX), or a hub id."""

    revision: str | None = None
    """Commit of a hub id."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it runs; `auto` takes a GPU if there is one."""

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the network; features are compared in float32 whatever it is."""

    use: str | None = None
    """A plug-in: `module:function`, or the name of an entry point in the group `reward_finetuning.scorers`."""

    groupwise: bool = False
    """Each call has all images of one prompt and no others, so that the scorer can compare them; `reward.batch_size`
    does not apply."""

    url: ServiceUrl | None = None
    """A scorer served over HTTP."""

    chat: ChatConfig | None = None
    """A judge behind an OpenAI-compatible chat endpoint; `url` is its address before /chat/completions."""

    timeout_seconds: PositiveFloat = 60.0
    """Longest wait for one answer of a served scorer."""

    retries: NonNegativeInt = 4
    """How often a served scorer is asked again, with growing pauses, before the step ends with exit code 75."""

    token_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Environment variable with the token of a served scorer; the token itself belongs in no run file."""

    @model_validator(mode="after")
    def _comes_from_one_place(self) -> Self:
        if self.use is not None and self.url is not None:
            raise ValueError(f"give use (a plug-in) or url (a served scorer), not both: {self.use!r}, {self.url!r}")
        if self.chat is not None and self.url is None:
            raise ValueError("chat needs url, the address of the endpoint, e.g. https://api.openai.com/v1")
        return self


class RewardConfig(Frozen):
    """The combined reward is the weighted sum of the scorers."""

    weights: dict[ScorerName, float] = Field(default={"shapes": 1.0}, min_length=1)
    """Scorer name -> weight in the combined reward. Weight 0: scored and reported, not trained on."""

    scorers: dict[ScorerName, ScorerConfig] = Field(default={})
    """Scorer name -> its settings, for those that need some."""

    batch_size: PositiveInt = 64
    """Images per call of a scorer."""

    verify: NonNegativeInt = 0
    """Images scored by ours and by the official packages before training; a difference above 1e-4 stops the run."""

    @property
    def groupwise(self) -> frozenset[str]:
        """Names of the scorers that compare the images of a prompt."""
        return frozenset(name for name, settings in self.scorers.items() if settings.groupwise)

    def micro_batches_per_unit(self, images_per_prompt: int, micro_batch_size: int) -> int:
        """Number of micro-batches in the smallest part of the images that splits no prompt of a groupwise scorer.

        Shards and parts are cut at multiples of it. It is 1 without groupwise scorers.
        """
        return lcm(images_per_prompt, micro_batch_size) // micro_batch_size if self.groupwise else 1

    @model_validator(mode="after")
    def _something_is_rewarded(self) -> Self:
        if not any(self.weights.values()):
            raise ValueError(f"at least one weight must differ from 0, got {self.weights}")
        return self

    @model_validator(mode="after")
    def _names_are_free(self) -> Self:
        if taken := sorted(self.weights.keys() & _COLUMNS):
            raise ValueError(
                f"weights: no scorer can be called {' or '.join(taken)}; the tables have that column already"
            )
        return self

    @model_validator(mode="after")
    def _settings_belong_to_a_scorer(self) -> Self:
        if unknown := sorted(self.scorers.keys() - self.weights.keys()):
            raise ValueError(f"reward.scorers has settings of {', '.join(unknown)}, which reward.weights does not name")
        return self
