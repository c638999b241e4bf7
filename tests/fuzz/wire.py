"""Targets: the messages between a served scorer and its client, either of which may be hostile."""

from __future__ import annotations

import numpy as np
from fuzz.targets import Target

from reward_finetuning.rewards.remote import wire

_REQUEST = wire.encode_request(np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3), ["a cat", "a dog"])

TARGETS = [
    Target("wire-request", wire.decode_request, (_REQUEST,), "json"),
    Target("wire-scores", wire.decode_scores, (b'{"scores": [0.5, null, 1], "digest": "d"}',), "json"),
    Target("wire-description", wire.decode_description, (b'{"name": "pickscore", "digest": "d"}',), "json"),
]
