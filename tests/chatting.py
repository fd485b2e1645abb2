"""Tiny causal language models with chat templates: control tokens or plain words as markers, with and without trims."""

from __future__ import annotations

from typing import Any, Final

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from tests.tiny import TOKENIZERS, config_for, seeded

_CONTROL: Final = ("<|im_start|>", "<|im_end|>")

#: Control tokens around each message, and the begin token that the tokenizer adds by itself as well.
CHATML: Final = (
    "{{ bos_token }}{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
#: No control token but the begin token: the markers are tokenised together with what is said.
INST: Final = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'assistant' %} {{ message.content }}{{ eos_token"
    " }}{% else %}[INST] {{ message.content | trim }} [/INST]{% endif %}{% endfor %}"
)
TEMPLATES: Final = {"chatml": CHATML, "inst": INST}

CHAT: Final = (
    {"role": "system", "content": "the cat was good"},
    {"role": "user", "content": "not a good film,\nbut the user was happy. I like it!"},
    {"role": "assistant", "content": "never"},
    {"role": "user", "content": "assistant"},
)


def chatting(family: str = "llama", template: str | None = CHATML) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A random model in eval mode and fp32 with 256 positions, and its tokenizer with the template."""
    tokenizer = TOKENIZERS[family]()
    tokenizer.add_special_tokens({"additional_special_tokens": list(_CONTROL)})
    tokenizer.chat_template = template
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    config: Any = config_for(family, tokenizer)
    config.max_position_embeddings = 256
    model = seeded(lambda: AutoModelForCausalLM.from_config(config, dtype=torch.float32), 0)
    return model, tokenizer
