"""`multum attention show TEXT` and `multum attention embed FILE`: token pruning on a text of the user's own."""

from pathlib import Path

from multum.attention import EmbedConfig, ShowConfig, TextFate, embed_file, show_text
from multum.cli.token_picture import token_picture
from multum.cli.verb import Outcome, Verb
from multum.core import require_module, say
from multum.core.config import to_dict

PRUNED_WORD = "·"
"""What stands in the place of a word that is gone."""


def _show(config: ShowConfig) -> Outcome:
    if config.html is not None:
        require_module("jinja2", "report")  # told before the model runs, not after it
    fate = show_text(config)
    if config.html is not None:
        _write_page(fate, config.html)
    result = {
        "tokens_per_layer": list(fate.tokens_per_layer),
        "words": [
            {"text": word.text, "last_layer": word.last_layer, "importance": list(word.importance)}
            for word in fate.words
            if not word.is_special
        ],
        "tokens": [to_dict(token) for token in fate.tokens],
    }
    if config.tokens:
        return Outcome(result=result, text=token_picture(fate.tokens, len(fate.tokens_per_layer)))
    return Outcome(result=result, text=fading_text(fate))


def _write_page(fate: TextFate, path: Path) -> None:
    from multum.report import Page, fading_words, section, token_map

    num_layers = len(fate.tokens_per_layer)
    words = fading_words(fate.words, num_layers, tokens_per_layer=fate.tokens_per_layer)
    tokens = token_map(fate.tokens, num_layers)
    page = Page("A text losing its words", "What became of every word and every token, layer by layer.")
    page.add(section("Words", words), section("Tokens", tokens))
    say(f"wrote {page.write(path)}")


def fading_text(fate: TextFate) -> str:
    """Tell the fate of a text in lines, one for each layer that starts with fewer words than the one before.

    Args:
        fate: What `trace_words` found.

    Returns:
        The lines; a word that is gone is a dot.
    """
    words = [word for word in fate.words if not word.is_special]
    lines, before = [], -1
    for layer, num_tokens in enumerate(fate.tokens_per_layer, start=1):
        if num_tokens == before:
            continue
        before = num_tokens
        left = " ".join(word.text if word.last_layer >= layer else PRUNED_WORD for word in words)
        lines.append(f"layer {layer}, {num_tokens} tokens: {left}")
    dense = len(fate.tokens_per_layer) * len(fate.tokens)
    return "\n".join([*lines, f"token reduction {dense / sum(fate.tokens_per_layer):.2f}x"])


def _embed(config: EmbedConfig) -> Outcome:
    done = embed_file(config)
    text = (
        f"wrote {done.num_texts} embeddings of width {done.width} to {done.out}; "
        f"token reduction {done.token_reduction:.2f}x"
    )
    return Outcome(result=to_dict(done), text=text)


SHOW = Verb(options=ShowConfig, execute=_show, recipes="attention")
EMBED = Verb(options=EmbedConfig, execute=_embed, recipes="attention")
