"""What answers requests, behind one rendering of requests into token ids: transformers, vLLM, or an OpenAI-compatible server.

`rendering` turns a suite's requests into token ids by the checkpoint's own tokenizer; `engines` chooses who answers them: `hf`, `vllm`, or a URL
(`server`, over `wire`); `subject` asks only what the journal lacks; `lm` offers a subject to lm-eval as one of its models, whatever its engine.
`python -m harness.backends parity` shows how far two engines lie apart.
"""
