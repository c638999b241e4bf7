import torch

from reward_finetuning.rewards.networks.text_cache import TextCache


def counting(calls):
    def encode(text):
        calls.append(text)
        return torch.tensor([float(len(text)), 1.0])

    return encode


def test_features_come_in_the_order_of_the_prompts():
    cache = TextCache(counting([]))

    assert cache(["aaa", "b", "aaa"]).tolist() == [[3, 1], [1, 1], [3, 1]]


def test_a_prompt_is_encoded_once_over_many_calls():
    calls = []
    cache = TextCache(counting(calls))

    cache(["a", "b", "a"])
    cache(["b", "c"])

    assert calls == ["a", "b", "c"]


def test_the_prompt_used_longest_ago_is_forgotten_first():
    calls = []
    cache = TextCache(counting(calls), capacity=2)
    cache(["a", "b"])
    cache(["a"])
    cache(["c"])

    cache(["a"])
    cache(["b"])

    assert calls == ["a", "b", "c", "b"]


def test_more_distinct_prompts_than_the_cache_holds_are_all_answered():
    cache = TextCache(counting([]), capacity=1)

    assert cache(["a", "bb", "ccc"])[:, 0].tolist() == [1, 2, 3]
