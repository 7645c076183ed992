"""The class of every point: networks of scans are trained, judged and used."""

from multum.pointcloud.segmentation.config import SegmentationConfig, StreetsConfig
from multum.pointcloud.segmentation.data import SegmentationData, load_data
from multum.pointcloud.segmentation.evaluate_command import (
    EvaluateSegmentationConfig,
    evaluate_segmentation,
)
from multum.pointcloud.segmentation.judge import judge_scans, log_probabilities
from multum.pointcloud.segmentation.layout import Layout, LayoutWish, open_scans, recognize
from multum.pointcloud.segmentation.loss import lovasz_softmax, segmentation_loss
from multum.pointcloud.segmentation.mean_iou import accuracy, class_iou, confusion_matrix, mean_iou
from multum.pointcloud.segmentation.model import Segmenter, SegmenterConfig, fresh_segmenter
from multum.pointcloud.segmentation.predict_command import (
    PredictSegmentationConfig,
    ScanPrediction,
    SegmentationPredictions,
    predict_segmentation,
)
from multum.pointcloud.segmentation.result import SegmentationJudgement, SegmentationResult
from multum.pointcloud.segmentation.samples import LabelledBatch, majority_label, training_batch
from multum.pointcloud.segmentation.scan_reader import ScanReader
from multum.pointcloud.segmentation.train import SegmentationTraining
from multum.pointcloud.segmentation.train_command import load_segmenter, train_segmentation

__all__ = [
    "EvaluateSegmentationConfig",
    "LabelledBatch",
    "Layout",
    "LayoutWish",
    "PredictSegmentationConfig",
    "ScanPrediction",
    "ScanReader",
    "SegmentationConfig",
    "SegmentationData",
    "SegmentationJudgement",
    "SegmentationPredictions",
    "SegmentationResult",
    "SegmentationTraining",
    "Segmenter",
    "SegmenterConfig",
    "StreetsConfig",
    "accuracy",
    "class_iou",
    "confusion_matrix",
    "evaluate_segmentation",
    "fresh_segmenter",
    "judge_scans",
    "load_data",
    "load_segmenter",
    "log_probabilities",
    "lovasz_softmax",
    "majority_label",
    "mean_iou",
    "open_scans",
    "predict_segmentation",
    "recognize",
    "segmentation_loss",
    "train_segmentation",
    "training_batch",
]
