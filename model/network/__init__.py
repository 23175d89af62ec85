"""Flux transformer, image tokenizer, text encoder, LoRA and flow matching."""
