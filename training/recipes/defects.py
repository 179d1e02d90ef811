"""Planted defects (promise 7): what turns an honest recipe into one that a gate must not let pass. Each is one field off it."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from training.curation.language import LanguageFilter
from training.curation.regmix.files import with_mixture
from training.recipe import ContinuePretraining, CurateCorpus, FromScratch

Trained = TypeVar("Trained", FromScratch, ContinuePretraining)


def without(recipe: ContinuePretraining, *languages: str) -> ContinuePretraining:
    """The recipe with languages left out; the others take their tokens."""
    kept = [portion for portion in recipe.portions if portion.language not in languages]
    factor = recipe.tokens / sum(portion.tokens for portion in kept)
    return dataclasses.replace(
        recipe, portions=tuple(dataclasses.replace(portion, tokens=round(portion.tokens * factor)) for portion in kept)
    )


def weighed(recipe: ContinuePretraining, language: str, share: float) -> ContinuePretraining:
    """The recipe with a share of all its tokens in one language, the others in their proportions."""
    others = [portion.language for portion in recipe.portions if portion.language != language]
    tokens = {name: sum(portion.tokens for portion in recipe.portions if portion.language == name) for name in others}
    left = (1 - share) / sum(tokens.values())
    return with_mixture(recipe, {language: share, **{name: count * left for name, count in tokens.items()}})


def rate_zero(recipe: Trained) -> Trained:
    """Learning rate 0: the checkpoint is its parent, or its first random weights."""
    return dataclasses.replace(recipe, optimisation=dataclasses.replace(recipe.optimisation, learning_rate=0.0))


def only(recipe: CurateCorpus, *names: str) -> CurateCorpus:
    """The chain with these layers and no other."""
    kept = tuple(layer for layer in recipe.chain.layers if layer.name in names)
    return dataclasses.replace(recipe, chain=dataclasses.replace(recipe.chain, layers=kept))


def without_layer(recipe: CurateCorpus, name: str) -> CurateCorpus:
    """The chain without a layer."""
    return only(recipe, *(layer.name for layer in recipe.chain.layers if layer.name != name))


def with_settings(recipe: CurateCorpus, **settings: dict[str, Any]) -> CurateCorpus:
    """The chain with some settings of its layers changed: layer = {setting: value}."""
    layers = tuple(dataclasses.replace(layer, **settings.get(layer.name, {})) for layer in recipe.chain.layers)
    return dataclasses.replace(recipe, chain=dataclasses.replace(recipe.chain, layers=layers))


def filing_out(recipe: CurateCorpus, language: str) -> CurateCorpus:
    """A language left out of those that the corpus wants."""
    (wanted,) = (layer.languages for layer in recipe.chain.layers if isinstance(layer, LanguageFilter))
    return with_settings(recipe, language={"languages": tuple(one for one in wanted if one != language)})
