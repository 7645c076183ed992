"""Where the rays of a spinning sensor first meet solid things: the geometry under the synthetic streets.

Every solid is a unit shape (cube, upright cylinder, ball) that was stretched, turned about the vertical axis and
moved. Instead, a ray is brought into the frame of the unit shape, where each of the three takes a line or two; the
distance along the ray stays what it is. All three are convex: a ray is inside for one interval, and enters where that
begins.

Only pairs that can meet are computed. A solid is seen in an interval of azimuths and one of elevations, and as the rays
lie on a grid, these are a range of columns and a range of rows. The intervals are those of the rectangle and the
heights that hold the solid, so nothing is lost; a test compares with all pairs, intersected in another way.

Shape legend: S solids, E rays above one another, A azimuths, R = E x A rays, P pairs of a ray and a solid.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from multum.core import invalid

BOX, CYLINDER, ELLIPSOID = 0, 1, 2
"""Shapes of solids; cylinders stand upright and are closed at both ends."""

_NEVER_ZERO = 1e-300  # a ray along a face: divided by this, the face is far away and not undefined
_SLACK = 1e-9  # radians, so that rounding loses no ray at the edge of an interval


@dataclass(frozen=True, kw_only=True)
class SyntheticSolids:
    """Solids of a synthetic scene, in metres around the sensor.

    Raises:
        UserError: A half size that is not positive.
    """

    shape_S: Int64[np.ndarray, " S"]
    """BOX, CYLINDER or ELLIPSOID."""
    centre_S3: Float64[np.ndarray, "S 3"]
    """Middles."""
    half_S3: Float64[np.ndarray, "S 3"]
    """Half of length, width and height; the half axes of what is round."""
    yaw_S: Float64[np.ndarray, " S"]
    """Turned by so much, in radians, anticlockwise from above."""

    def __post_init__(self) -> None:
        if not (self.half_S3 > 0).all():
            raise invalid("half sizes of solids", "positive", float(self.half_S3.min()))

    def __len__(self) -> int:
        return len(self.yaw_S)


@dataclass(frozen=True, kw_only=True)
class SyntheticHits:
    """What each ray met first."""

    distance_R: Float64[np.ndarray, " R"]
    """Metres along the ray; infinite where it met nothing."""
    solid_R: Int64[np.ndarray, " R"]
    """Number of the solid, or -1. Of two at the same distance, the one that comes first."""
    cosine_R: Float64[np.ndarray, " R"]
    """Of the angle between the ray and the surface's normal, in [0, 1]; 0 where there is no surface."""


def ray_directions(elevation_E: Float64[np.ndarray, " E"], num_azimuths: int) -> Float64[np.ndarray, "R 3"]:
    """Unit vectors of a sensor's rays, row by row, each row anticlockwise from straight ahead.

    >>> ray_directions(np.zeros(1), 4).round(3).tolist()[1]
    [0.0, 1.0, 0.0]
    """
    azimuth_A = np.arange(num_azimuths) * (2 * math.pi / num_azimuths)
    flat_EA = np.cos(elevation_E)[:, None] * np.ones(num_azimuths)
    up_EA = np.sin(elevation_E)[:, None] * np.ones(num_azimuths)
    return np.stack([flat_EA * np.cos(azimuth_A), flat_EA * np.sin(azimuth_A), up_EA], -1).reshape(-1, 3)


def nearest_hit(
    solids: SyntheticSolids, elevation_E: Float64[np.ndarray, " E"], num_azimuths: int
) -> SyntheticHits:
    """Follow every ray from the origin to the first solid.

    A solid that holds the origin is not seen, neither from within.

    Args:
        solids: What there is.
        elevation_E: Of the rays that lie above one another, in radians, descending, less than a right angle.
        num_azimuths: Rays in a turn, evenly spaced.

    Returns:
        One hit per ray, in the order of `ray_directions`.

    Example:
        >>> ball = SyntheticSolids(shape_S=np.array([ELLIPSOID]), centre_S3=np.array([[5.0, 0.0, 0.0]]),
        ...                        half_S3=np.ones((1, 3)), yaw_S=np.zeros(1))
        >>> nearest_hit(ball, np.zeros(1), 4).distance_R.tolist()
        [4.0, inf, inf, inf]
    """
    direction_R3 = ray_directions(elevation_E, num_azimuths)
    ray_P, solid_P = _pairs_in_view(solids, elevation_E, num_azimuths)
    enter_P = np.empty(len(ray_P))
    for shape, enter in ((BOX, _enter_box), (CYLINDER, _enter_cylinder), (ELLIPSOID, _enter_ellipsoid)):
        chosen = solids.shape_S[solid_P] == shape
        enter_P[chosen] = enter(*_unit_frame(solids, solid_P[chosen], direction_R3[ray_P[chosen]]))
    distance_R = np.full(len(direction_R3), np.inf)
    np.minimum.at(distance_R, ray_P, enter_P)
    first = np.flatnonzero((enter_P == distance_R[ray_P]) & np.isfinite(enter_P))[::-1]
    solid_R = np.full(len(direction_R3), -1)
    solid_R[ray_P[first]] = solid_P[first]  # written backwards: the first solid is written last
    return SyntheticHits(
        distance_R=distance_R, solid_R=solid_R, cosine_R=_cosine(solids, solid_R, distance_R, direction_R3)
    )


def _pairs_in_view(
    solids: SyntheticSolids, elevation_E: np.ndarray, num_azimuths: int
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the rays and the solids that might meet, solid by solid."""
    row_S, num_rows_S, column_S, num_columns_S = _windows(solids, elevation_E, num_azimuths)
    count_S = num_rows_S * num_columns_S
    solid_P = np.repeat(np.arange(len(solids)), count_S)
    within_P = np.arange(len(solid_P)) - np.repeat(np.cumsum(count_S) - count_S, count_S)
    down_P, along_P = np.divmod(within_P, num_columns_S[solid_P])
    return (row_S[solid_P] + down_P) * num_azimuths + (column_S[solid_P] + along_P) % num_azimuths, solid_P


def _windows(
    solids: SyntheticSolids, elevation_E: np.ndarray, num_azimuths: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """First row, rows, first column and columns from where each solid can be seen."""
    corner_S42 = _corners(solids)
    near_S, far_S = _distance_to_rectangle(solids), np.hypot(*np.moveaxis(corner_S42, -1, 0)).max(axis=1)
    middle_S = np.arctan2(solids.centre_S3[:, 1], solids.centre_S3[:, 0])
    # the rectangle does not hold the origin, so its corners lie within half a turn of its middle, as seen from there
    offset_S4 = np.arctan2(corner_S42[..., 1], corner_S42[..., 0]) - middle_S[:, None]
    offset_S4 = (offset_S4 + math.pi) % (2 * math.pi) - math.pi
    step = 2 * math.pi / num_azimuths
    column_S = np.floor((middle_S + offset_S4.min(axis=1) - _SLACK) / step).astype(np.int64)
    last_S = np.ceil((middle_S + offset_S4.max(axis=1) + _SLACK) / step).astype(np.int64)
    num_columns_S = np.where(near_S > 0, np.minimum(last_S - column_S + 1, num_azimuths), num_azimuths)
    top_S = solids.centre_S3[:, 2] + solids.half_S3[:, 2]
    bottom_S = solids.centre_S3[:, 2] - solids.half_S3[:, 2]
    highest_S = np.arctan2(top_S, np.where(top_S > 0, near_S, far_S)) + _SLACK
    lowest_S = np.arctan2(bottom_S, np.where(bottom_S > 0, far_S, near_S)) - _SLACK
    row_S = np.searchsorted(-elevation_E, -highest_S, side="left")
    last_row_S = np.searchsorted(-elevation_E, -lowest_S, side="right")
    return row_S, np.maximum(last_row_S - row_S, 0), column_S, num_columns_S


def _corners(solids: SyntheticSolids) -> np.ndarray:
    """Corners of the turned rectangles that hold the solids, from above."""
    cos_S, sin_S = np.cos(solids.yaw_S), np.sin(solids.yaw_S)
    along_S2 = np.stack([cos_S, sin_S], -1) * solids.half_S3[:, :1]
    across_S2 = np.stack([-sin_S, cos_S], -1) * solids.half_S3[:, 1:2]
    signs = ((1, 1), (1, -1), (-1, 1), (-1, -1))
    return np.stack([solids.centre_S3[:, :2] + a * along_S2 + b * across_S2 for a, b in signs], axis=1)


def _distance_to_rectangle(solids: SyntheticSolids) -> np.ndarray:
    """From the origin, from above; 0 inside."""
    cos_S, sin_S = np.cos(solids.yaw_S), np.sin(solids.yaw_S)
    x_S, y_S = solids.centre_S3[:, 0], solids.centre_S3[:, 1]
    ahead_S = np.abs(cos_S * x_S + sin_S * y_S) - solids.half_S3[:, 0]
    beside_S = np.abs(cos_S * y_S - sin_S * x_S) - solids.half_S3[:, 1]
    distance_S: np.ndarray = np.hypot(np.maximum(ahead_S, 0), np.maximum(beside_S, 0))
    return distance_S


def _unit_frame(
    solids: SyntheticSolids, solid_P: np.ndarray, direction_P3: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where rays begin and whither they go, in the frames in which their solids are unit shapes."""
    cos_S, sin_S = np.cos(solids.yaw_S), np.sin(solids.yaw_S)
    turn_S33 = np.zeros((len(solids), 3, 3))
    turn_S33[:, 0, 0], turn_S33[:, 0, 1] = cos_S, sin_S
    turn_S33[:, 1, 0], turn_S33[:, 1, 1] = -sin_S, cos_S
    turn_S33[:, 2, 2] = 1
    turn_S33 /= solids.half_S3[:, :, None]
    origin_S3 = -np.einsum("sij,sj->si", turn_S33, solids.centre_S3)
    return origin_S3[solid_P], np.einsum("pij,pj->pi", turn_S33[solid_P], direction_P3)


def _enter_box(origin_P3: np.ndarray, direction_P3: np.ndarray) -> np.ndarray:
    return _entry(*_between_faces(origin_P3, direction_P3))


def _enter_cylinder(origin_P3: np.ndarray, direction_P3: np.ndarray) -> np.ndarray:
    low_P, high_P = _within_round(origin_P3[:, :2], direction_P3[:, :2])
    bottom_P, top_P = _between_faces(origin_P3[:, 2:], direction_P3[:, 2:])
    return _entry(np.maximum(low_P, bottom_P), np.minimum(high_P, top_P))


def _enter_ellipsoid(origin_P3: np.ndarray, direction_P3: np.ndarray) -> np.ndarray:
    return _entry(*_within_round(origin_P3, direction_P3))


def _between_faces(origin_PD: np.ndarray, direction_PD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From where to where a ray is within -1 and 1 in all dimensions."""
    slope_PD = np.where(direction_PD == 0, _NEVER_ZERO, direction_PD)
    one_PD, other_PD = (-1 - origin_PD) / slope_PD, (1 - origin_PD) / slope_PD
    return np.minimum(one_PD, other_PD).max(axis=1), np.maximum(one_PD, other_PD).min(axis=1)


def _within_round(origin_PD: np.ndarray, direction_PD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From where to where a ray is within 1 of the middle; an empty interval where it never is."""
    square_P = (direction_PD**2).sum(axis=1)
    half_way_P = -(origin_PD * direction_PD).sum(axis=1) / square_P
    spare_P = half_way_P**2 - ((origin_PD**2).sum(axis=1) - 1) / square_P
    reach_P = np.sqrt(np.maximum(spare_P, 0))
    return np.where(spare_P < 0, np.inf, half_way_P - reach_P), half_way_P + reach_P


def _entry(enter_P: np.ndarray, leave_P: np.ndarray) -> np.ndarray:
    """The distance of the entry, or infinity where there is none ahead."""
    return np.where((enter_P <= leave_P) & (enter_P > 0), enter_P, np.inf)


def _cosine(
    solids: SyntheticSolids, solid_R: np.ndarray, distance_R: np.ndarray, direction_R3: np.ndarray
) -> np.ndarray:
    """How squarely each ray meets the surface that it meets."""
    hit = np.flatnonzero(solid_R >= 0)
    solid_H = solid_R[hit]
    origin_H3, direction_H3 = _unit_frame(solids, solid_H, direction_R3[hit])
    point_H3 = origin_H3 + distance_R[hit, None] * direction_H3
    # the normal of the unit shape: of a ball the point itself; of a face the axis along which the point is farthest
    shape_H1 = solids.shape_S[solid_H, None]
    size_H3 = np.abs(point_H3)
    size_H3[:, :2] = np.where(
        shape_H1 == CYLINDER, np.hypot(point_H3[:, :1], point_H3[:, 1:2]), size_H3[:, :2]
    )
    outermost_H3 = size_H3 >= size_H3.max(axis=1, keepdims=True)
    normal_H3 = np.where((shape_H1 == ELLIPSOID) | outermost_H3, point_H3, 0.0)
    half_H3 = solids.half_S3[solid_H]
    cosine_H = np.abs((normal_H3 * direction_H3).sum(axis=1))
    cosine_H /= np.sqrt(((normal_H3 / half_H3) ** 2).sum(axis=1))
    cosine_R = np.zeros(len(solid_R))
    cosine_R[hit] = np.clip(cosine_H, 0, 1)
    return cosine_R
