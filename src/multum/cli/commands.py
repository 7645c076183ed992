"""The list of commands: what exists, in one line each, with nothing heavy imported.

To add a command, write a module with a `Verb` in this folder and a line in `COMMANDS`. The import of the
inside stands in a function of its own, so that it happens when the command is called and not before.
"""

from multum.cli.verb import AnyVerb, Command


def _demo() -> AnyVerb:
    from multum.cli.demo import DEMO

    return DEMO


def _cost() -> AnyVerb:
    from multum.cli.cost import COST

    return COST


def _attention_show() -> AnyVerb:
    from multum.cli.attention import SHOW

    return SHOW


def _attention_run() -> AnyVerb:
    from multum.cli.attention_run import RUN

    return RUN


def _attention_evaluate() -> AnyVerb:
    from multum.cli.attention_evaluate import EVALUATE

    return EVALUATE


def _attention_generate() -> AnyVerb:
    from multum.cli.attention_generate import GENERATE

    return GENERATE


def _attention_embed() -> AnyVerb:
    from multum.cli.attention import EMBED

    return EMBED


def _attention_adapt() -> AnyVerb:
    from multum.cli.attention_adapt import ADAPT

    return ADAPT


def _accelerator_simulate() -> AnyVerb:
    from multum.cli.accelerator import SIMULATE

    return SIMULATE


def _accelerator_sweep() -> AnyVerb:
    from multum.cli.accelerator import SWEEP

    return SWEEP


def _accelerator_reproduce() -> AnyVerb:
    from multum.cli.accelerator_reproduce import REPRODUCE

    return REPRODUCE


def _accelerator_verilog() -> AnyVerb:
    from multum.cli.accelerator import VERILOG

    return VERILOG


def _transfer_train() -> AnyVerb:
    from multum.cli.transfer import TRAIN

    return TRAIN


def _transfer_plan() -> AnyVerb:
    from multum.cli.transfer_plan import PLAN

    return PLAN


def _transfer_pretrain_lite() -> AnyVerb:
    from multum.cli.transfer_pretrain import PRETRAIN_LITE

    return PRETRAIN_LITE


def _transfer_report() -> AnyVerb:
    from multum.cli.transfer import REPORT

    return REPORT


def _transfer_evaluate() -> AnyVerb:
    from multum.cli.transfer import EVALUATE

    return EVALUATE


def _transfer_predict() -> AnyVerb:
    from multum.cli.transfer_use import PREDICT

    return PREDICT


def _transfer_add_classes() -> AnyVerb:
    from multum.cli.transfer_use import ADD_CLASSES

    return ADD_CLASSES


def _transfer_delta() -> AnyVerb:
    from multum.cli.transfer_use import DELTA

    return DELTA


def _transfer_merge() -> AnyVerb:
    from multum.cli.transfer_use import MERGE

    return MERGE


def _transfer_export() -> AnyVerb:
    from multum.cli.transfer_use import EXPORT

    return EXPORT


def _pointcloud_train() -> AnyVerb:
    from multum.cli.pointcloud_train import TRAIN

    return TRAIN


def _pointcloud_evaluate() -> AnyVerb:
    from multum.cli.pointcloud_train import EVALUATE

    return EVALUATE


def _pointcloud_predict() -> AnyVerb:
    from multum.cli.pointcloud_train import PREDICT

    return PREDICT


def _pointcloud_view() -> AnyVerb:
    from multum.cli.pointcloud import VIEW

    return VIEW


def _kernels() -> AnyVerb:
    from multum.cli.kernels import KERNELS

    return KERNELS


def _recipes() -> AnyVerb:
    from multum.cli.recipes import RECIPES

    return RECIPES


COMMANDS = (
    Command(
        words=("demo",),
        summary="The main job: a real model on real text, dense and pruned, and a report to look at.",
        load=_demo,
    ),
    Command(
        words=("cost",),
        summary="Measure what a model costs: parameters, MACs, memory, traffic, time.",
        load=_cost,
    ),
    Command(
        words=("attention", "show"),
        summary="Show a text losing its words, layer by layer.",
        load=_attention_show,
    ),
    Command(
        words=("attention", "run"),
        summary="Run a model on a text, densely and pruned: output, cost, and a workload for the accelerator.",
        load=_attention_run,
    ),
    Command(
        words=("attention", "evaluate"),
        summary="Measure what pruning costs: pairs, labels, passages, or a text's perplexity.",
        load=_attention_evaluate,
    ),
    Command(
        words=("attention", "generate"),
        summary="Let a language model write while its cache is pruned.",
        load=_attention_generate,
    ),
    Command(
        words=("attention", "embed"),
        summary="Embed the lines of a file, densely or pruned.",
        load=_attention_embed,
    ),
    Command(
        words=("attention", "adapt"),
        summary="Train a model to stand its own pruning, and save what changed.",
        load=_attention_adapt,
    ),
    Command(
        words=("accelerator", "simulate"),
        summary="Run a trace on the accelerator: cycles, busy units, DRAM, energy, area, and every layer.",
        load=_accelerator_simulate,
    ),
    Command(
        words=("accelerator", "sweep"),
        summary="Run a trace on many accelerators, and show which of them nothing beats.",
        load=_accelerator_sweep,
    ),
    Command(
        words=("accelerator", "reproduce"),
        summary="Run the paper's evaluation, and show every published number beside ours.",
        load=_accelerator_reproduce,
    ),
    Command(
        words=("accelerator", "verilog"),
        summary="Write the top-k engine and its zero eliminators as Verilog.",
        load=_accelerator_verilog,
    ),
    Command(
        words=("transfer", "train"),
        summary="Teach a network that knows ImageNet other classes, in little memory.",
        load=_transfer_train,
    ),
    Command(
        words=("transfer", "plan"),
        summary="Plan a training in so many megabytes, before it is begun.",
        load=_transfer_plan,
    ),
    Command(
        words=("transfer", "pretrain-lite"),
        summary="Let lite residuals learn from many pictures once, for tasks to come.",
        load=_transfer_pretrain_lite,
    ),
    Command(
        words=("transfer", "report"),
        summary="Draw a training's report again: curves, confusion, mistakes to look at.",
        load=_transfer_report,
    ),
    Command(
        words=("transfer", "evaluate"),
        summary="Judge a trained network on pictures that it has not learned from.",
        load=_transfer_evaluate,
    ),
    Command(
        words=("transfer", "predict"),
        summary="Tell what a trained network takes pictures for, and how sure it is.",
        load=_transfer_predict,
    ),
    Command(
        words=("transfer", "add-classes"),
        summary="Teach a trained network more classes, without training and without forgetting.",
        load=_transfer_add_classes,
    ),
    Command(
        words=("transfer", "delta"),
        summary="Show what a training changed, and write it in fewer bytes.",
        load=_transfer_delta,
    ),
    Command(
        words=("transfer", "merge"),
        summary="Fold the norms of a trained network, and write its weights.",
        load=_transfer_merge,
    ),
    Command(
        words=("transfer", "export"),
        summary="Write a trained network for other programs: torch.export or ONNX.",
        load=_transfer_export,
    ),
    Command(
        words=("pointcloud", "train"),
        summary="Teach a sparse network to tell the class of every point of LiDAR scans.",
        load=_pointcloud_train,
    ),
    Command(
        words=("pointcloud", "evaluate"),
        summary="Judge a trained network on scans that it has not learned from.",
        load=_pointcloud_evaluate,
    ),
    Command(
        words=("pointcloud", "predict"),
        summary="Write the class of every point of scans, as a trained network sees it.",
        load=_pointcloud_predict,
    ),
    Command(
        words=("pointcloud", "view"),
        summary="Show a LiDAR scan, its classes and predictions of them, as a page to be turned.",
        load=_pointcloud_view,
    ),
    Command(
        words=("kernels",),
        summary="List the fast paths of this machine, and whether each is active.",
        load=_kernels,
    ),
    Command(
        words=("recipes",),
        summary="List the recipes, ready-made configurations, of every system.",
        load=_recipes,
    ),
)
"""Every command, in the order of the help page."""

SYSTEMS = {
    "attention": "Sentences lose the words that do not matter",
    "accelerator": "SpAtten, the hardware, simulated cycle by cycle",
    "transfer": "A network learns a task of yours in little memory",
    "pointcloud": "Scans of streets, point by point",
}
"""Systems with verbs of their own, and what each is about."""
