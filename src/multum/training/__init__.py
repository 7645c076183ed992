"""What training loops share: order of batches, learning rate, moving average, checkpoints and resume, metric log."""

from multum.training.batch_plan import BatchPlan
from multum.training.checkpoint import TrainingState, restore_checkpoint, save_checkpoint
from multum.training.learning_rate import LearningRate
from multum.training.loop import CHECKPOINT_FILE, METRICS_FILE, LoopConfig, train
from multum.training.metric_log import MetricLog, read_metrics
from multum.training.moving_average import copies, follow, holding
from multum.training.tensor_file import hash_tensors, read_tensor_file, write_tensor_file

__all__ = [
    "CHECKPOINT_FILE",
    "METRICS_FILE",
    "BatchPlan",
    "LearningRate",
    "LoopConfig",
    "MetricLog",
    "TrainingState",
    "copies",
    "follow",
    "hash_tensors",
    "holding",
    "read_metrics",
    "read_tensor_file",
    "restore_checkpoint",
    "save_checkpoint",
    "train",
    "write_tensor_file",
]
