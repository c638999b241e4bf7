"""What a run reads besides its settings: where it is, whether it is right, and its digests. Needs no torch."""

from reward_finetuning.inputs.check import check_inputs
from reward_finetuning.inputs.digests import check_compiled, compiled_digests, input_digests
from reward_finetuning.inputs.names import check_names
from reward_finetuning.inputs.places import Place, absolute_paths, bucket_uri_of, path_of, place_of

__all__ = [
    "Place",
    "absolute_paths",
    "bucket_uri_of",
    "check_compiled",
    "check_inputs",
    "check_names",
    "compiled_digests",
    "input_digests",
    "path_of",
    "place_of",
]
