"""Chapter 4 of the paper: a model from scratch or imported, block expansion, and two stages of continual pre-training.

`sources` reads documents, `corpus` tokenises them into files, `stream` makes packed rows of those, `loop` trains, `resume` keeps what a
killed run needs. The builders of the recipes are `scratch`, `imported`, `expand` and `continual`.
"""
