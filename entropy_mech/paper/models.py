"""The models of all profiles: what run files call them, and how figures label them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BaseModel:
    """A model of the paper, in the toy profile the tiny one that stands for it; or a small one.

    Attributes:
        name: as in file names, ``qwen2.5_7b``.
        label: as in the paper's figures.
        family: the panel of Figs. 3 and 4 that it is drawn in.

    """

    name: str
    label: str
    family: str


BASE_MODELS = {
    model.name: model
    for model in (
        BaseModel("qwen2.5_0.5b", "Qwen2.5-0.5B", "Qwen2.5"),
        BaseModel("qwen2.5_1.5b", "Qwen2.5-1.5B", "Qwen2.5"),
        BaseModel("qwen2.5_3b", "Qwen2.5-3B", "Qwen2.5"),
        BaseModel("qwen2.5_7b", "Qwen2.5-7B", "Qwen2.5"),
        BaseModel("qwen2.5_32b", "Qwen2.5-32B", "Qwen2.5"),
        BaseModel("mistral_7b", "Mistral-7B-v0.3", "Mistral"),
        BaseModel("mistral_nemo_12b", "Mistral-Nemo-12B", "Mistral"),
        BaseModel("mistral_small_24b", "Mistral-Small-24B", "Mistral"),
        BaseModel("llama3.2_3b", "LLaMA3.2-3B", "LLaMA and DeepSeek-Math"),
        BaseModel("llama3.1_8b", "LLaMA3.1-8B", "LLaMA and DeepSeek-Math"),
        BaseModel("deepseek_math_7b", "DeepSeek-Math-7B", "LLaMA and DeepSeek-Math"),
        BaseModel("1.5b_instruct", "Qwen2.5-1.5B-Instruct", "Qwen2.5-Instruct"),
        BaseModel("3b_instruct", "Qwen2.5-3B-Instruct", "Qwen2.5-Instruct"),
        BaseModel("7b_instruct", "Qwen2.5-7B-Instruct", "Qwen2.5-Instruct"),
        # Not the paper's: what one CPU core or one GPU can train.
        BaseModel("0.5b_instruct", "Qwen2.5-0.5B-Instruct", "Qwen2.5-Instruct"),
        BaseModel("llama3.2_1b", "LLaMA3.2-1B", "LLaMA and DeepSeek-Math"),
        BaseModel("smollm2_135m", "SmolLM2-135M", "SmolLM2"),
        BaseModel("smollm2_360m", "SmolLM2-360M", "SmolLM2"),
        BaseModel("smollm2_1.7b", "SmolLM2-1.7B", "SmolLM2"),
        BaseModel("smollm2_135m_instruct", "SmolLM2-135M-Instruct", "SmolLM2"),
    )
}


def model_of_run(run: str, profile: str = "paper") -> BaseModel:
    """Return the model that a run trains, by the name of its file and the profile.

    The toys have the names of those that they stand for. In profile smollm one model stands for
    all, and in one_gpu Qwen2.5-1.5B for the 7B.

    >>> model_of_run("fig03_mistral_7b").label, model_of_run("fig11_32b_kl_cov").label
    ('Mistral-7B-v0.3', 'Qwen2.5-32B')
    """
    if profile in ("smollm", "kept_smollm"):
        return BASE_MODELS["smollm2_135m_instruct"]
    _, _, rest = run.partition("_")
    if rest not in BASE_MODELS:
        rest = "qwen2.5_32b" if rest.startswith("32b") else "qwen2.5_7b"
    if profile == "one_gpu" and rest == "qwen2.5_7b":
        rest = "qwen2.5_1.5b"
    return BASE_MODELS[rest]
