"""LoRA weights: on the model, side by side, and as PEFT's files."""
