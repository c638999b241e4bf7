"""`rft serve-rewards`: serve a scorer over HTTP."""

from __future__ import annotations

import os
import ssl
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

import typer

from reward_finetuning.config import UserError
from reward_finetuning.config.sections.reward import RewardConfig, ScorerConfig
from reward_finetuning.server_errors import one_line
from reward_finetuning.steps.program import run_step

Text = str | None


def serve_rewards(
    scorer: Annotated[str, typer.Argument(metavar="SCORER", help="Name of the scorer, as in reward.weights.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 selects a free port.")] = 8080,
    host: Annotated[
        str,
        typer.Option(help="Address to listen on; 0.0.0.0 accepts requests from the network: add --token-env."),
    ] = "127.0.0.1",
    source: Annotated[Text, typer.Option(help="reward.scorers.SCORER.source: location of the weights.")] = None,
    revision: Annotated[Text, typer.Option(help="reward.scorers.SCORER.revision: commit of a hub id.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Device of the network.")] = "auto",
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"], typer.Option(help="Data type of the network.")
    ] = "float32",
    use: Annotated[Text, typer.Option(help="Serve a plug-in: module:function, or an entry point.")] = None,
    token_env: Annotated[
        Text,
        typer.Option(metavar="VARIABLE", help="Environment variable with a token that every request must carry."),
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Serve https: the certificate chain, as PEM.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="The certificate's private key, as PEM.")] = None,
) -> None:
    """Serve a scorer over HTTP. Runs use it by setting reward.scorers.NAME.url to its address.

    On SIGTERM, the service answers open requests for at most 18 seconds, and ends.

    Example: `rft serve-rewards shapes --port 8080`
    """
    from reward_finetuning.rewards.remote.server import ScoringServer, Served
    from reward_finetuning.rewards.scorer import load_scorers, scorer_digests

    token, tls = _token(token_env), _tls(tls_certificate, tls_key)
    settings = ScorerConfig(source=source, revision=revision, device=device, dtype=dtype, use=use)
    config = RewardConfig(weights={scorer: 1.0}, scorers={scorer: settings})
    digest = "".join(scorer_digests(config).values())
    served = Served(
        scorer,
        sha256(f"{scorer} {digest} {dtype}".encode()).hexdigest() if digest else "",
        load_scorers(config)[scorer],
        token=token,
        tls=tls,
    )
    try:
        server = ScoringServer(host, port, served)
    except OSError as error:
        raise UserError(f"{host}:{port} cannot be used: {error.strerror}; choose another --port") from None
    address = f"{'http' if tls is None else 'https'}://{host}:{server.server_address[1]}"
    print(f"serving {scorer} at {address} (digest: {served.digest or 'none'})", flush=True)
    unanswered = server.serve_until_signal()
    answered = "all open requests were answered" if not unanswered else f"{unanswered} requests were cut off"
    print(f"stopped serving {scorer}; {answered}", flush=True)


def _token(variable: str | None) -> str | None:
    if variable is None:
        return None
    token = os.environ.get(variable, "")
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(f"--token-env {variable}: the variable must hold the token, as printable ASCII without spaces")
    return token


def _tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise UserError("https needs both --tls-certificate and --tls-key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise UserError(
            f"--tls-certificate {certificate} and --tls-key {key} cannot be used: {one_line(error)}"
        ) from None
    return context


if __name__ == "__main__":
    run_step(serve_rewards)  # for the scorer environment, which has no kfp and therefore no `rft`
