"""iikata (言い方): does the prompt template matter when you LoRA-fine-tune, and was LoRA needed at all?"""

__version__ = "0.1.0"
