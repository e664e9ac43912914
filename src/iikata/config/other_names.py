"""What peft, transformers, LLaMA-Factory and others call the settings; used to suggest, never read in their place."""

import re

OTHER_NAMES = {
    "name": "run_name experiment_name title",
    "model.base": "base_model base_model_name model_name model_name_or_path model_id model_path pretrained_model",
    "model.dtype": "torch_dtype precision bf16 fp16 fp32 half compute_dtype",
    "model.quantize": "quantization quantization_bit load_in_8bit load_in_4bit bits bnb",
    "model.compute": "fp8",
    "data.train": "data_path dataset dataset_name dataset_path datasets train_file train_data train_dataset data_files",
    "data.validation": "val_set_size val_size test_size validation_file val_file eval_dataset eval_file",
    "data.columns.instruction": "prompt question query",
    "data.columns.output": "response answer completion target",
    "templates": "template prompt_template prompt_template_name chat_template formats",
    "train.seeds": "seed random_seed random_state",
    "train.epochs": "num_epochs num_train_epochs n_epochs max_epochs epoch_count",
    "train.batch_size": (
        "per_device_train_batch_size train_batch_size micro_batch_size global_batch_size gradient_accumulation_steps bs"
    ),
    "train.learning_rate": "lr base_lr peak_lr max_lr",
    "train.warmup_steps": "warmup num_warmup_steps warmup_ratio",
    "train.schedule": "lr_scheduler lr_scheduler_type lr_schedule scheduler scheduler_type",
    "train.weight_decay": "wd decay",
    "train.max_grad_norm": "gradient_clipping grad_clip clip_grad_norm max_norm gradient_clip_val",
    "train.cutoff_len": (
        "cutoff_length max_length max_len max_seq_length max_seq_len sequence_len seq_length context_length block_size "
        "model_max_length"
    ),
    "train.loss_on": "train_on_inputs train_on_prompt completion_only_loss assistant_only_loss mask_prompt",
    "train.checkpoint_seconds": "save_steps save_strategy",
    "train.eval_steps": "eval_strategy evaluation_strategy eval_every evaluate_every val_check_interval",
    "train.eval_rows": "max_eval_samples eval_samples",
    "train.lora": "peft peft_config lora_config adapter",
    "train.lora.r": "rank lora_r lora_rank lora_dim",
    "train.lora.alpha": "lora_alpha",
    "train.lora.dropout": "lora_dropout",
    "train.lora.target_modules": "lora_target lora_target_modules lora_modules target modules",
    "generate.samples": "n num_samples num_return_sequences best_of",
    "generate.temperature": "temp do_sample",
    "generate.max_new_tokens": "max_tokens max_length max_len max_gen_toks max_completion_tokens num_predict",
    "generate.repetition_penalty": "rep_penalty repeat_penalty",
    "probes": "probe prompts questions test_prompts eval_prompts probes_file",
    "score.primary": "metric primary_metric main_metric",
    "score.judge.url": "base_url api_base endpoint",
    "compare.margin": "rope delta equivalence_margin",
    "compare.alpha": "significance significance_level",
}


def meant(section: str, name: str) -> str | None:
    """Return the setting that `name` in `section` means elsewhere; one of the same section first."""
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])|-", "_", name).lower()
    found = [setting for setting, names in OTHER_NAMES.items() if plain in names.split()]
    return next((setting for setting in found if setting.startswith(f"{section}.")), found[0] if found else None)
