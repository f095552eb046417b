"""Run by the Python that has vLLM, see test_vllm.py: what it answers, or why it does not, as JSON.

Arguments: the file that says what is asked, {model folder: {"texts": lists of token numbers, or pairs of texts,
"asks": an Auto class, or "pairs", "processes": 1 if not given}}, and the one for the answers.
"""

import gc
import json
import sys
from pathlib import Path
from typing import Any

from vllm import LLM, SamplingParams

TOKENS = 20
"""To be written by a language model."""


def answer(folder: str, asks: str, texts: list[Any], processes: int = 1) -> tuple[list[Any], int | None]:
    """Tokens, probabilities or embeddings for each text, which go in together; and how many layers vLLM's fused
    experts run."""
    options = {"max_model_len": 40, "dtype": "float32", "enforce_eager": True, "max_num_seqs": 4}
    llm = LLM(model=folder, tensor_parallel_size=processes, **options)
    found = _answers(llm, asks, texts)
    if processes > 1:  # their models are not here
        return found, None
    return found, llm.apply_model(lambda model: len(getattr(model, "fused", ())))[0]


def _answers(llm: LLM, asks: str, texts: list[Any]) -> list[Any]:
    if asks == "pairs":
        return [llm.score(one, other, use_tqdm=False)[0].outputs.score for one, other in texts]
    prompts = [{"prompt_token_ids": text} for text in texts]
    if asks == "AutoModelForCausalLM":
        greedy = SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True, detokenize=False)
        return [list(one.outputs[0].token_ids) for one in llm.generate(prompts, greedy, use_tqdm=False)]
    if asks == "AutoModelForTokenClassification":
        return [one.outputs.data.tolist() for one in llm.encode(prompts, pooling_task="token_classify", use_tqdm=False)]
    if asks == "AutoModel":
        return [one.outputs.embedding for one in llm.embed(prompts, use_tqdm=False)]
    return [one.outputs.probs for one in llm.classify(prompts, use_tqdm=False)]


def main(asked: str, answered: str) -> None:
    """Every model after the other."""
    answers: dict[str, Any] = {}
    for folder, question in json.loads(Path(asked).read_text()).items():
        try:
            answers[folder] = answer(folder, **question)
        except Exception as error:  # what is refused is an answer, too
            answers[folder] = f"{type(error).__name__}: {error}"
        gc.collect()
    answers["uses this package"] = "padnet_hf" in sys.modules
    Path(answered).write_text(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
