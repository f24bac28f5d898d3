"""How many tokens texts and clips have, counted with the base's own tokenizer; by characters where there is none."""

import math

from rbft_ray.core.errors import DataError
from rbft_ray.io.clips import ClipFrames
from rbft_ray.model.video_input import video_text
from rbft_ray.model.vlm import load_processor, render_prompt

CHARACTERS_PER_TOKEN = 3  # English text has about 4


class TokenCounts:
    """Of a model directory or hub id. missing: why tokens are counted by characters, or ''."""

    def __init__(self, base: str, revision: str | None):
        self.missing = ""
        try:
            self._processor = load_processor(base, revision)
        except DataError:
            self._processor = None
            self.missing = f"{base} has no processor: texts are counted as {CHARACTERS_PER_TOKEN} characters per token"

    def text(self, text: str) -> int:
        if self._processor is None:
            return math.ceil(len(text) / CHARACTERS_PER_TOKEN)
        return len(self._processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    def prompt(self, prompt: str) -> int:
        """With the turns that the chat template puts around it and the token that stands for the video."""
        return self.text(prompt if self._processor is None else render_prompt(self._processor, prompt))

    def beside_video(self, clip: ClipFrames, tokens: int) -> int:
        """Tokens of a clip beyond its `tokens` tokens of frames: in some families its times stand between them.

        Raises:
            DataError: the model cannot take frames of this size, or counts a video's tokens in an unknown way.
        """
        if self._processor is None:
            return 0
        return max(0, self.text(video_text(self._processor, clip)) - tokens)
