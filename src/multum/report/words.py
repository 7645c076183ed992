"""The fate of words: what a run of cascade token pruning leaves for a reader to look at.

A model prunes tokens, a reader sees words; a `WordFate` is one word with all its wordpieces, and how long it
lived. This module holds the sentences told about them; `multum.report.fading` draws them.
"""

from collections.abc import Sequence

from multum.attention import WordFate
from multum.core.errors import invalid


def check_words(words: Sequence[WordFate], num_layers: int) -> None:
    """Refuse a passage without words, and words that outlive the model.

    Args:
        words: The passage.
        num_layers: Layers of the model.

    Raises:
        UserError: When either is the case.
    """
    if not words:
        raise invalid("words", "at least one", list(words), "the passage is empty")
    if num_layers < 1:
        raise invalid("num_layers", "at least 1", num_layers)
    for word in words:
        if word.last_layer > num_layers:
            raise invalid(
                f"last_layer of {word.text!r}", f"at most num_layers = {num_layers}", word.last_layer
            )


def tell_fate(word: WordFate, num_layers: int) -> str:
    """Tell what became of a word, in one sentence.

    Args:
        word: The word.
        num_layers: Layers of the model.

    Returns:
        Its fate and its cumulative importance.

    >>> tell_fate(WordFate(text="film", last_layer=2, importance=(0.8, 2.1)), 6)
    'gone after layer 2 of 6; cumulative importance 0.8, 2.1'
    >>> tell_fate(WordFate(text="film", last_layer=2, importance=(0.8, 2.1)), 2)
    'kept through all 2 layers; cumulative importance 0.8, 2.1'
    """
    return tell_life(word.importance, num_layers)


def tell_life(importance: Sequence[float], num_layers: int) -> str:
    """Tell how long something lived, by its importance after each of its layers.

    >>> tell_life((0.8,), 6)
    'gone after layer 1 of 6; cumulative importance 0.8'
    >>> tell_life((), 6)
    'gone before layer 1 of 6'
    """
    last = len(importance)
    if last == 0:
        return f"gone before layer 1 of {num_layers}"
    fate = (
        f"kept through all {num_layers} layers"
        if last == num_layers
        else f"gone after layer {last} of {num_layers}"
    )
    return f"{fate}; cumulative importance {', '.join(f'{value:.3g}' for value in importance)}"


def count_alive(words: Sequence[WordFate], num_layers: int) -> tuple[int, ...]:
    """Count the words alive in each layer, specials included.

    Args:
        words: The passage.
        num_layers: Layers of the model.

    Returns:
        One count per layer, never rising.

    >>> film = WordFate(text="film", last_layer=2, importance=(0.8, 2.1))
    >>> treat = WordFate(text="treat", last_layer=1, importance=(0.5,))
    >>> count_alive([treat, film], 2)
    (2, 1)
    """
    return tuple(sum(word.last_layer >= layer for word in words) for layer in range(1, num_layers + 1))


def changing_layers(counts: Sequence[int]) -> tuple[int, ...]:
    """Find the layers, counted from 1, whose count differs from the layer before; the first always does.

    >>> changing_layers([11, 11, 6, 6, 2])
    (1, 3, 5)
    """
    return tuple(layer for layer, count in enumerate(counts, 1) if layer == 1 or count != counts[layer - 2])


def largest_importance(words: Sequence[WordFate]) -> float:
    """Give the importance at which the marker under a word has its full colour.

    Special tokens draw so much attention in most models that they would leave all other words pale, so they do not
    count unless there is nothing else, and the very largest words may exceed the scale.

    Args:
        words: The passage.

    Returns:
        The importance that 19 in 20 words do not exceed; 1 when nobody gathered any.

    >>> words = [WordFate(text="a", last_layer=1, importance=(float(value),)) for value in range(1, 21)]
    >>> largest_importance(words)
    19.0
    """
    finals = sorted(word.earned for word in words if not word.is_special)
    finals = finals or sorted(word.earned for word in words)
    return finals[round(0.95 * (len(finals) - 1))] or finals[-1] or 1.0


def spell(words: Sequence[WordFate]) -> str:
    """Write words one after the other, as they are read.

    >>> spell([WordFate(text=text, last_layer=1, importance=(1.0,)) for text in ("almost", "perfect.")])
    'almost perfect.'
    """
    return " ".join(word.text for word in words)
