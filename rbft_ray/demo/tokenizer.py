"""A small byte-level BPE tokenizer of the Qwen2 form, trained on the demo's own language; any text encodes (bytes)."""

from collections.abc import Iterator

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Qwen2TokenizerFast

from rbft_ray.core.prompts import hinted_rationale_prompt, label_prompt, rationale_prompt, rationale_text
from rbft_ray.demo.grammar import made_up_names, random_rules
from rbft_ray.demo.language import (
    CAPTION_PROMPTS,
    NUM_CAPTION_STYLES,
    caption,
    described,
    questions,
    random_task,
    reasoning,
    statement,
)
from rbft_ray.demo.scenes import random_scene

VOCAB_SIZE = 1280
MAX_TOKENS = 8192
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# As in Qwen2, but that a space belongs to the next word only where that begins with a small letter: a class name (they are
# capitalised) has the same tokens everywhere, in the middle of a sentence or as the whole answer.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{Ll}+|\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_ENGLISH = (
    "You are a helpful assistant.\nsystem\nuser\nassistant\nA person does something in the video; the camera moves. "
    "It is not possible to tell which of these would be better, because there are only some other things that could "
    "have been seen before or after this. running walking opening closing pushing pulling someone something with from "
    "into onto under over between while until during"
)

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' or 'video' in content or 'video_url' in content %}"
    "<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def corpus(seed: int, count: int) -> Iterator[str]:
    """`count` texts of each kind that the model reads or writes: prompts, captions, answers, rationales, names."""
    rng = np.random.default_rng([seed, 7002])
    yield from CAPTION_PROMPTS
    for _ in range(count):
        yield _ENGLISH
        rules, style = random_rules(rng), int(rng.integers(NUM_CAPTION_STYLES))
        scene, task = random_scene(rng, 2), random_task(rng, rules)
        yield rationale_prompt(task)
        yield label_prompt(task)
        yield hinted_rationale_prompt(task, task.labels[0])
        yield rationale_text(reasoning(scene, rules, style), rules.label(scene))
        yield described(caption_scene := random_scene(rng, int(rng.integers(1, 4))), style)
        yield caption(caption_scene, style)
        yield " ".join(" ".join(pair) for pair in [*questions(caption_scene), statement(rng, scene, rules)])
        yield " ".join(made_up_names(rng, 8))


def train_tokenizer(seed: int = 0, count: int = 1500) -> Qwen2TokenizerFast:
    """Trains the tokenizer on `corpus`; the same arguments give the same tokenizer."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS],
        show_progress=False,
    )
    bpe.train_from_iterator(corpus(seed, count), trainer)
    return Qwen2TokenizerFast(
        tokenizer_object=bpe,
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token=None,
        additional_special_tokens=list(SPECIAL_TOKENS[1:]),
        model_max_length=MAX_TOKENS,
        chat_template=CHAT_TEMPLATE,
    )
