"""`rft serve-rewards`: one of our scorers as a service."""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Literal

import typer

from reward_finetuning.config import UserError
from reward_finetuning.config.sections.reward import RewardConfig, ScorerConfig
from reward_finetuning.steps.program import run_step

Text = str | None


def serve_rewards(
    scorer: Annotated[str, typer.Argument(metavar="SCORER", help="Its name, as in reward.weights.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    host: Annotated[
        str, typer.Option(help="Who may ask: 0.0.0.0 lets everyone who reaches this machine; there is no password.")
    ] = "127.0.0.1",
    source: Annotated[Text, typer.Option(help="reward.scorers.SCORER.source: where its weights lie.")] = None,
    revision: Annotated[Text, typer.Option(help="reward.scorers.SCORER.revision: commit of a hub id.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where it runs.")] = "auto",
    dtype: Annotated[Literal["float32", "bfloat16", "float16"], typer.Option(help="Of the network.")] = "float32",
    use: Annotated[Text, typer.Option(help="Serve a plug-in: module:function, or an entry point.")] = None,
) -> None:
    """Serve a scorer over HTTP, for runs whose reward.scorers.NAME.url points here; SIGTERM ends it gently.

    Example: `rft serve-rewards shapes --port 8080`
    """
    from reward_finetuning.rewards.remote.server import ScoringServer, Served
    from reward_finetuning.rewards.scorer import load_scorers, scorer_digests

    settings = ScorerConfig(source=source, revision=revision, device=device, dtype=dtype, use=use)
    config = RewardConfig(weights={scorer: 1.0}, scorers={scorer: settings})
    digest = "".join(scorer_digests(config).values())
    served = Served(
        scorer,
        sha256(f"{scorer} {digest} {dtype}".encode()).hexdigest() if digest else "",
        load_scorers(config)[scorer],
    )
    try:
        server = ScoringServer(host, port, served)
    except OSError as error:
        raise UserError(f"{host}:{port} cannot be listened on: {error.strerror}; choose another --port") from None
    address = f"http://{host}:{server.server_address[1]}"
    print(f"serving {scorer} at {address} (digest: {served.digest or 'none'})", flush=True)
    server.serve_until_told()
    print(f"served {scorer}; every request in hand was answered", flush=True)


if __name__ == "__main__":
    run_step(serve_rewards)  # in the scorer environment, which has no kfp and so no `rft`
