"""The entropy mechanism of reinforcement learning for reasoning language models.

Theory, law, trainer and evaluators behind arXiv 2505.22617. Importing this package loads
neither torch, vllm, deepspeed nor matplotlib; import the sub-package that you need.
"""

__version__ = "0.1.0"
