"""Print what a language model in a folder writes after some text. Needs transformers alone, nothing of padnet_hf.

python examples/language_modeling/complete.py runs/lm/stock "def "
"""

import sys

from transformers import AutoModelForCausalLM, AutoTokenizer

NEW_TOKENS = 48


def complete(folder: str, text: str) -> str:
    """The text, and the model's most likely tokens behind it; none that was written already is quite as likely."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    *start, last = tokenizer(text)["input_ids"]
    # A space at the end belongs to the word that follows: the last token is written again, as the beginning of another.
    rest, words = tokenizer.decode([last]), range(len(tokenizer))
    fitting = [number for number in words if tokenizer.decode([number]).startswith(rest)] if start else [last]
    prompt = model.dummy_inputs["input_ids"].new_tensor([start or [last]])
    written = model.generate(
        prompt,
        attention_mask=prompt.new_ones(prompt.shape),
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        repetition_penalty=1.2,
        prefix_allowed_tokens_fn=lambda _, ids: fitting if start and len(ids) == len(start) else list(words),
        pad_token_id=tokenizer.pad_token_id,
    )
    return tokenizer.decode(written[0], skip_special_tokens=True)


if __name__ == "__main__":
    sys.stdout.write(f"{complete(*sys.argv[1:])}\n")
    if "padnet_hf" in sys.modules:
        sys.exit("padnet_hf was imported, which a stock checkpoint does not need")
