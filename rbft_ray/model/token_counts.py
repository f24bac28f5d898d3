"""How many tokens texts and clips have, counted with the base's own tokenizer; by characters where there is none."""

import math

import numpy as np

from rbft_ray.core.errors import DataError
from rbft_ray.core.sampling import SamplingContract, frame_count
from rbft_ray.io.clips import ClipFrames
from rbft_ray.model.video_input import video_text
from rbft_ray.model.vlm import load_processor, render_prompt

CHARACTERS_PER_TOKEN = 3  # English text has about 4
_LONG_CLIP_SEC = 1e9  # so long that sampling.max_frames is reached


def largest_clip(contract: SamplingContract, unit_px: int) -> ClipFrames:
    """A black clip with as many and as large frames as a contract allows, without memory of its own.

    unit_px: of which both sides are multiples.
    """
    width = unit_px * max(1, contract.max_pixels // unit_px**2)
    shape = (frame_count(contract, _LONG_CLIP_SEC), unit_px, width, 3)
    return ClipFrames(np.broadcast_to(np.uint8(0), shape), 1.0)


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

    def clip(self, clip: ClipFrames) -> int:
        """Of its frames, and of what stands between them.

        Raises:
            DataError: the model cannot take frames of this size, or counts a video's tokens in an unknown way.
        """
        return self.text(video_text(self._processor, clip))

    def beside_video(self, clip: ClipFrames, tokens: int) -> int:
        """Tokens of a clip beyond its `tokens` tokens of frames: in some families its times stand between them.

        Raises:
            DataError: the model cannot take frames of this size, or counts a video's tokens in an unknown way.
        """
        if self._processor is None:
            return 0
        return max(0, self.clip(clip) - tokens)
