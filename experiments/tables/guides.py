"""Tables of the course and of "Choosing a norm": results, sorted by what a reader asks."""

from verdicts import effect_in_words

from tables.markdown import markdown_table, results

# The claims of the course's last chapter, by its sections.
THEMES = {
    "speed": ("convergence", "training_time", "similar_progress", "learning_rate"),
    "gradients": (
        *("vanishing_gradients", "exploding_gradients", "untrained_gradients"),
        *("smoother_loss", "weight_updates"),
    ),
    "robustness": ("initialization", "sample_order", "random_orders"),
    "inputs": ("input_normalization", "input_layer", "cost"),
    "parameters": ("scale_and_bias", "residual_scale", "non_linear", "momentum", "epsilon"),
    "everywhere": ("accuracy", "architectures"),
    "why": (
        *("layer_inputs", "covariate_shift", "gradient_shift"),
        *("scale_invariance", "step_size_by_depth"),
    ),
    "papers": ("regularization", "batch_size", "evaluation_statistics", "recipes"),
}


def theme(name: str) -> str:
    """The claims of a section of the course's last chapter: each with its verdict and numbers."""
    rows = []
    for claim in THEMES[name]:
        result = results(f"{claim}/results")
        link = f"[{result['claim']}](../../experiments/{claim}/README.md)"
        rows.append([link, f"**{result['verdict']}**", result["summary"]])
    return markdown_table(["claim", "verdict", "measured"], rows, num_words=3)


def choosing() -> str:
    """What to take in which situation, and the number that this rests on."""
    rows = [
        [
            "**Tabular data, a small MLP**",
            "standardized inputs first; a norm is optional",
            f"Standardizing gains {_less('input_normalization', 'breast cancer')} points on breast "
            f"cancer and {_less('input_normalization', 'wine')} on wine "
            f"({_page('input_normalization')}). Batch norm on top of it: "
            f"{_effect('accuracy', 'breast cancer')} and {_effect('accuracy', 'wine')} "
            f"({_page('accuracy')}).",
        ],
        [
            "**A CNN, batches of 16 and more**",
            "`BatchNorm`",
            "A small one on digits: "
            f"{_cells('architectures', 'a small convolutional network')} ({_page('architectures')})"
            ". All three are good. With a norm, rates that are too high do less harm "
            f"({_page('learning_rate')}).",
        ],
        [
            "**A ResNet**",
            "`BatchNorm`, the last gamma of each block from 0",
            "50 residual blocks: "
            f"{_cell('residual_scale', '50 blocks, gamma_from_0', 0)}, with gamma from 1 "
            f"{_cell('residual_scale', '50 blocks, batch_norm', 0)}, without a norm "
            f"{_cell('residual_scale', '50 blocks, no_norm', 0)} ({_page('residual_scale')}). A "
            "ResNet of a few blocks needs none: "
            f"{_cells('architectures', 'a small ResNet-18')} ({_page('architectures')}).",
        ],
        [
            "**Batches of 2 to 4**",
            "`LayerNorm` or `GroupNorm`",
            f"Batch norm is behind layer norm by {_effect('batch_size', 'batches of 2')} points "
            f"with batches of 2, by {_effect('batch_size', 'batches of 4')} with 4, by "
            f"{_effect('batch_size', 'batches of 16')} with 16 ({_page('batch_size')}).",
        ],
        [
            "**Ten layers of sigmoids**",
            "any norm",
            f"{_cells('architectures', 'ten layers of sigmoids')} ({_page('architectures')}).",
        ],
        [
            "**50 plain layers of ReLU**",
            "shortcuts first",
            "Batch norm: "
            f"{_last('vanishing_gradients', 'ReLU, 50 layers, batch_norm')}; with shortcuts as "
            f"well: {_last('vanishing_gradients', 'ReLU, shortcuts, 50 layers, batch_norm')}; "
            "shortcuts without a norm: "
            f"{_last('vanishing_gradients', 'ReLU, shortcuts, 50 layers, no_norm')} "
            f"({_page('vanishing_gradients')}).",
        ],
        [
            "**Noisy labels**",
            "no norm, and dropout",
            f"Without a norm {_cell('regularization', 'wrong labels, no_norm', 1)}, with batch "
            f"norm {_cell('regularization', 'wrong labels, batch_norm', 1)}, with layer norm "
            f"{_cell('regularization', 'wrong labels, layer_norm', 1)}, with dropout alone "
            f"{_cell('regularization', 'wrong labels, dropout, no_norm', 1)} "
            f"({_page('regularization')}).",
        ],
        [
            "**Large batches, many devices**",
            "`BatchNorm`: its statistics are those of the whole batch; try `GhostBatchNorm`",
            "Ghost batch norm gains "
            f"{_effect('recipes', 'groups of 8, batches of 240')} points with batches of 240: not "
            f"shown ({_page('recipes')}).",
        ],
        [
            "**Online data, reinforcement learning**",
            "`InputNorm` for the observations; `LayerNorm` inside",
            "In this order of the examples, batch norm costs: sorted by class "
            f"{_cell('sample_order', 'sorted', 0)} points, batches of one class each "
            f"{_cell('sample_order', 'class blocked', 0)}; no norm "
            f"{_cell('sample_order', 'sorted', 4)} and {_cell('sample_order', 'class blocked', 4)} "
            f"({_page('sample_order')}). Reinforcement learning itself: not measured here. Bhatt "
            "et al., 2019 (CrossNorm), arXiv:1902.05605v2: off-policy, plain batch normalization "
            "helps little; layer normalization, and statistics over old and new transitions, help.",
        ],
        [
            "**Speed at inference**",
            "`BatchNorm`, folded afterwards",
            "Layer norm can't be folded. The time with norms divided by the time folded, on a "
            f"CPU: {_folding()} ([folding](how_to/folding.md)). Above 1, folding gains.",
        ],
        [
            "**Short runs**",
            "`BatchNorm` with warmed-up statistics",
            "Running statistics of momentum 0.99 lose after one epoch "
            f"{_effect('momentum', 'momentum 0.99 after 1 epoch')} points ({_page('momentum')}).",
        ],
        [
            "**Sequences with padding**",
            "`LayerNorm` or `RMSNorm`; `BatchNorm` with a `mask` if you must",
            "Not measured here. Statistics of each token by itself don't see the padding. Shen et "
            "al., 2020, arXiv:2003.07845: in language models a batch's statistics fluctuate.",
        ],
        [
            "**Transformers**",
            "`LayerNorm` or `RMSNorm` before each block",
            "Not measured here. Xiong et al., 2020, arXiv:2002.04745 (before or after); Zhang and "
            "Sennrich, 2019, arXiv:1910.07467 (RMS).",
        ],
        [
            "**Recurrent networks**",
            "`LayerNorm`",
            "Not measured here. Ba, Kiros and Hinton, 2016, arXiv:1607.06450; Cooijmans et al., "
            "2016, arXiv:1603.09025, with batch statistics for each step of time.",
        ],
        [
            "**Fine-tuning with few examples**",
            "the norm it was trained with; `FrozenBatchNorm` for `BatchNorm`",
            "Not measured here: [fine-tuning](how_to/fine_tuning.md). Wu and Johnson, 2021, "
            "arXiv:2105.07576.",
        ],
        [
            "**Several domains**",
            "`DomainBatchNorm`",
            "Not measured here. Chang et al., 2019, arXiv:1906.03950.",
        ],
        [
            "**Data that shift after training**",
            "`BatchNorm`, its statistics recomputed on new data",
            "Not measured here: [test-time adaptation](how_to/test_time_adaptation.md). Schneider "
            "et al., 2020, arXiv:2006.16971.",
        ],
    ]
    return markdown_table(["situation", "take", "because"], rows, num_words=3)


def _page(claim: str) -> str:
    return f"[{claim.replace('_', ' ')}](../experiments/{claim}/README.md)"


def _judged(claim: str, comparison: str) -> tuple[tuple[float, float, float], float]:
    (found,) = (of for of in results(f"{claim}/results")["judged"] if of["name"] == comparison)
    return found["effect"], found["smallest"]


def _effect(claim: str, comparison: str) -> str:
    """A comparison's effect with its interval."""
    return effect_in_words(*_judged(claim, comparison))


def _less(claim: str, comparison: str) -> str:
    """The same from the other side: what the second of the two gains over the first."""
    (value, low, high), smallest = _judged(claim, comparison)
    return effect_in_words((-value, -high, -low), smallest)


def _row(claim: str, name: str) -> list[str]:
    (found,) = (row for row in results(f"{claim}/results")["rows"] if row[0] == name)
    return found[1:]


def _cell(claim: str, row: str, column: int) -> str:
    """A cell of a claim's table, of percentages where its heading says so."""
    heading = results(f"{claim}/results")["headings"][1:][column]
    mean = _row(claim, row)[column].partition(" [")[0]
    return mean + ("%" if heading.endswith("%") else "")


def _last(claim: str, row: str) -> str:
    return _cell(claim, row, len(_row(claim, row)) - 1)


def _cells(claim: str, row: str) -> str:
    """The test accuracies of a row, each with its norm."""
    headings = results(f"{claim}/results")["headings"][1:]
    names = [of.removeprefix("test accuracy, ").removesuffix(", %") for of in headings]
    return ", ".join(
        f"{name.replace('_', ' ')} {_cell(claim, row, column)}" for column, name in enumerate(names)
    )


def _folding() -> str:
    """How long networks take with their norms, divided by how long they take folded."""
    return ", ".join(
        f"{case['network']} {case['over_jbn']['with its norms'][1]:.2f}"
        for case in results("bench/folding")["cases"]
    )
