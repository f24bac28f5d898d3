"""A checkpoint's weights as plain Hugging Face directories, which `from_pretrained` and vLLM read."""

from rbft_ray.core.train_config import TrainConfig
from rbft_ray.model import vlm
from rbft_ray.model.checkpoint import load_weights
from rbft_ray.model.trainable import make_trainable, merged


def export(
    base: str, revision: str | None, dtype: str, config: TrainConfig, checkpoint: str, model_dir: str, adapter_dir: str
) -> None:
    """Writes the trained model, adapters merged, with its processor; and the adapter alone where there is one.

    Args:
        base, revision, dtype: of the model that was trained, as for `vlm.load`.
        checkpoint: local directory that `TrainEngine.save` wrote.

    Raises:
        DataError: the checkpoint is not whole or is of another model.
    """
    loaded = vlm.load(base, dtype=dtype, revision=revision)
    model = make_trainable(loaded.model, config)
    load_weights(model, checkpoint)
    if config.method == "lora":
        model.save_pretrained(adapter_dir)
    merged(model).save_pretrained(model_dir)
    loaded.processor.save_pretrained(model_dir)
    loaded.processor.video_processor.save_pretrained(model_dir)  # vLLM wants video_preprocessor_config.json on its own
