"""What a config.json says about the vision tower: its parameters and the largest image."""

from __future__ import annotations

from profiles.fields import Fields

# Tower and projector over the tower's blocks alone; the largest ratio among the catalogue's models (Qwen3-VL-32B 1.447).
VISION_PERMILLE = 1450
COLOURS = 3
# Defaults that a file may leave out (transformers: Gemma3Config, SiglipVisionConfig of Gemma 3, PixtralVisionConfig, Mistral3Config).
GEMMA3_SIDE, GEMMA3_TOKENS = 896, 256
PIXTRAL_SIDE, PIXTRAL_PATCH, PIXTRAL_MERGE = 1540, 14, 2


def vision_parameters(top: Fields) -> int:
    """Upper estimate of towers and projector from the towers' blocks; 0 for a text model."""
    return _vision_parameters(top) + _audio_parameters(top)


def _audio_parameters(top: Fields) -> int:
    if not top.has("audio_config"):
        return 0
    audio = top.table("audio_config")
    # Conformer (arXiv 2005.08100, section 2): two feed-forward parts of 8 hidden^2, attention 5 with relative positions, convolution 3
    return 24 * audio.integer("num_hidden_layers") * audio.integer("hidden_size") ** 2


def _vision_parameters(top: Fields) -> int:
    if not top.has("vision_config"):
        return 0
    vision = top.table("vision_config")
    blocks = vision.integer("depth" if vision.has("depth") else "num_hidden_layers")
    hidden, intermediate = vision.integer("hidden_size"), vision.integer("intermediate_size")
    # Pixtral's MLPs are gated (transformers, modeling_pixtral.py), those of the others are not
    matrices = 3 if vision.optional_text("model_type") == "pixtral" else 2
    per_block = 4 * hidden * hidden + matrices * hidden * intermediate
    return blocks * per_block * VISION_PERMILLE // 1000


def largest_image(top: Fields) -> tuple[int, int]:
    """(tokens, pixel values) of the largest image; (0, 0) for types whose images have no largest size in the file."""
    if not top.has("vision_config"):
        return 0, 0
    vision = top.table("vision_config")
    if top.optional_text("model_type") == "gemma3":
        side = vision.optional_integer("image_size") or GEMMA3_SIDE
        return top.optional_integer("mm_tokens_per_image") or GEMMA3_TOKENS, COLOURS * side * side
    if vision.optional_text("model_type") == "pixtral":
        side = vision.optional_integer("image_size") or PIXTRAL_SIDE
        merged = (vision.optional_integer("patch_size") or PIXTRAL_PATCH) * (top.optional_integer("spatial_merge_size") or PIXTRAL_MERGE)
        return (side // merged) ** 2, COLOURS * side * side
    return 0, 0
