"""Where a model may come from: a hub that answers as the real one does, one file, an adapter to start from."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from reward_finetuning.config import RetryableError, UserError
from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.policy.load import load_policy
from reward_finetuning.policy.pretrained.hub import hub_folder
from reward_finetuning.policy.pretrained.source import check_model, model_digest
from reward_finetuning.server_errors import hub_is_reachable

SAMPLING = SamplingConfig(num_steps=3, guidance_scale=3.0)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REFUSALS = {"gated": (403, "GatedRepo"), "missing": (404, "RepoNotFound"), "down": (409, "")}
ASK = """
import json, pathlib, sys
from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.policy.pretrained.hub import fetch_pipeline
from reward_finetuning.policy.pipeline import load_pipeline

commit, to = sys.argv[1:]
answers = {}
for name in ("small", "gated", "missing", "down"):
    try:
        load_pipeline(ModelConfig(source=f"owner/{name}", revision=commit))
        folder = fetch_pipeline(f"owner/{name}", commit, None, pathlib.Path(to))
        answers[name] = ["", str(folder)]
    except Exception as error:
        answers[name] = [type(error).__name__, str(error)]
print(json.dumps(answers))
"""


class Hub(BaseHTTPRequestHandler):
    """Serves one folder as owner/small at one commit, as far as its client asks; refuses others as the hub does."""

    folder = None

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        owner_and_name = self.path.removeprefix("/api/models").split("/")[1:3]
        if refusal := REFUSALS.get(owner_and_name[1]):
            status, code = refusal
            self.answer(status, b"", {"X-Error-Code": code, "X-Error-Message": code})
            return
        files = {str(p.relative_to(self.folder)): p for p in sorted(self.folder.rglob("*")) if p.is_file()}
        if "/tree/" in self.path:
            listed = [
                {"type": "file", "path": name, "size": path.stat().st_size, "oid": "0" * 40}
                for name, path in files.items()
            ]
            self.answer(200, json.dumps(listed).encode(), {"Content-Type": "application/json"})
        elif self.path.startswith("/api/"):
            info = {"id": "owner/small", "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
            self.answer(200, json.dumps(info).encode(), {"Content-Type": "application/json"})
        elif (name := self.path.partition(f"/resolve/{COMMIT}/")[2]) in files:
            self.answer(200, files[name].read_bytes(), {"ETag": f'"{abs(hash(name))}"', "X-Repo-Commit": COMMIT})
        else:
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})

    def answer(self, status, body, headers):
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args):
        return


@pytest.fixture
def hub(family_folder):
    """A hub on this machine; gives its address."""
    Hub.folder = family_folder("sd2")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_model_comes_from_the_hub_at_its_commit_and_what_is_not_to_be_had_says_what_to_run(
    hub, tmp_path, family_folder
):
    environment = os.environ | {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", ASK, COMMIT, str(tmp_path / "weights")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])

    assert answers["small"] == ["", str(tmp_path / "weights" / "small")]
    fetched, original = (ModelConfig(source=str(f)) for f in (tmp_path / "weights" / "small", family_folder("sd2")))
    assert model_digest(fetched) == model_digest(original)
    assert answers["gated"][0] == "UserError"
    assert "is gated: accept its terms" in answers["gated"][1]
    assert answers["missing"][0] == "UserError"
    assert "the hub has no model.source owner/missing" in answers["missing"][1]
    assert answers["down"][0] == "RetryableError"
    for name in ("gated", "missing", "down"):
        assert f"rft fetch-weights owner/{name} --revision {COMMIT} --to DIR --download" in answers[name][1]
        assert "\n" not in answers[name][1]


def test_a_hub_that_cannot_be_reached_is_worth_a_retry(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    with pytest.raises(RetryableError, match=r"cannot be reached; where there is network run: rft fetch-weights"):
        hub_folder(ModelConfig(source="CompVis/stable-diffusion-v1-4"))


def test_a_hub_that_accepts_no_connection_is_worth_a_retry_and_asked_nothing_else(monkeypatch, tmp_path):
    from huggingface_hub import constants

    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    assert not hub_is_reachable()
    with pytest.raises(RetryableError, match="the hub cannot be reached"):
        hub_folder(ModelConfig(source="CompVis/stable-diffusion-v1-4"))


def test_a_proxy_of_the_environment_is_taken_as_reachable(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")

    assert hub_is_reachable()


def test_a_revision_of_a_folder_and_a_file_that_is_no_safetensors_are_refused(family_folder, tmp_path):
    (tmp_path / "model.ckpt").write_bytes(b"")

    with pytest.raises(UserError, match=r"model.revision belongs to a hub id"):
        check_model(ModelConfig(source=str(family_folder("sd1")), revision=COMMIT), SAMPLING)
    with pytest.raises(UserError, match="pickles can run code"):
        check_model(ModelConfig(source=str(tmp_path / "model.ckpt")), SAMPLING)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_single_file_is_the_pipeline_that_it_was_made_of(family_folder, tmp_path, family):
    from safetensors.torch import save_file

    from reward_finetuning.policy.export.original_names import original_state
    from reward_finetuning.policy.pipeline import load_pipeline

    folder, file = family_folder(family), tmp_path / "model.safetensors"
    whole = load_pipeline(ModelConfig(source=str(folder)))
    save_file(original_state(whole), file)
    model = ModelConfig(source=str(file), single_file_configs=str(folder))

    check_model(model, SAMPLING)
    read = load_pipeline(model)

    for part in ("unet", "vae", "text_encoder", *(["text_encoder_2"] if family == "sdxl" else [])):
        ours, theirs = getattr(read, part).state_dict(), getattr(whole, part).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    with pytest.raises(UserError, match=r"holds weights alone: set model.single_file_configs"):
        check_model(ModelConfig(source=str(file)), SAMPLING)
    assert model_digest(model) != model_digest(ModelConfig(source=str(folder)))


def test_an_inpainting_model_is_refused(family_folder, tmp_path):
    import diffusers

    folder = shutil.copytree(family_folder("sd1"), tmp_path / "model")
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet")
    config = dict(unet.config) | {"in_channels": 9}
    diffusers.UNet2DConditionModel.from_config(config).save_pretrained(folder / "unet")

    with pytest.raises(UserError, match=r"its UNet takes 9 channels, its VAE makes 4"):
        load_policy(ModelConfig(source=str(folder)), SAMPLING, seed=0)


def test_a_variant_that_the_folder_lacks_is_named_in_one_line(family_folder):
    with pytest.raises(UserError, match=r"cannot be loaded: .*fp16") as caught:
        load_policy(ModelConfig(source=str(family_folder("sd1")), variant="fp16"), SAMPLING, seed=0)

    assert "\n" not in str(caught.value)


def test_an_fp16_variant_is_read_as_float32(family_folder, tmp_path):
    import diffusers

    whole = diffusers.DiffusionPipeline.from_pretrained(family_folder("sd2"), torch_dtype=torch.float16)
    whole.save_pretrained(tmp_path / "model", variant="fp16")

    policy = load_policy(ModelConfig(source=str(tmp_path / "model"), variant="fp16"), SAMPLING, seed=0)

    assert {weight.dtype for weight in policy.network.parameters()} == {torch.float32}
