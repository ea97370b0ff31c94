"""A truth beside a prediction.

Pixel, object, boundary and deployment scores, statistics and reports.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "baselines": [
            "canopeo",
            "constant",
            "excess_green",
            "gradient_watershed",
            "otsu_depth",
            "regular_grid",
        ],
        "boundary": [
            "BoundaryDistance",
            "boundary_distances",
            "boundary_iou",
            "boundary_width",
            "class_boundary_iou",
        ],
        "calibration": [
            "Correction",
            "Fitted",
            "Reliability",
            "fit_correction",
            "fit_over_images",
            "object_outcomes",
            "reliability",
        ],
        "deploy": [
            "Perturbed",
            "classify",
            "consistency_sweep",
            "corner_consistency",
            "reordered",
            "rescaled",
            "resized",
            "sensitivity",
        ],
        "image": ["ImageOptions", "ImageScores", "mask_scores", "score_ids"],
        "merge_and_match": ["MergedScores", "merged_scores"],
        "objects": ["Matches", "ObjectScores", "match_objects", "object_scores"],
        "overlap": [
            "OverlapTable",
            "join_tables",
            "overlap_of_blocks",
            "overlap_table",
            "table_from_pairs",
        ],
        "partition": ["area_bias", "error_kinds", "segmentation_errors", "size_classes"],
        "pixel": ["Confusion", "PixelScores", "confusion", "mean_dice", "pixel_scores"],
        "precision": ["AveragePrecision", "Detections", "average_precision"],
        "protocol": ["PrueScores", "prue_means", "prue_scores"],
        "report": ["Report"],
        "seams": ["consistency_map", "lattice_seams", "object_consistency", "seam_error"],
        "statistics": [
            "Comparison",
            "Interval",
            "bootstrap",
            "group_mean",
            "holm",
            "paired_bootstrap",
            "paired_t_test",
            "pooled_t_test",
            "wilcoxon_test",
        ],
        "strata": ["stratify"],
        "streamed": ["ObjectIds", "overlap_of_sources", "score_sources"],
        "summary": [
            "MEASURES",
            "Measure",
            "RunScores",
            "ScoreOptions",
            "compare",
            "measure",
            "summarise",
        ],
    },
)
