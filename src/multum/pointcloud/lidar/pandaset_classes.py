"""The 42 classes of PandaSet, and a coarser way to see them.

Many of the 42 hardly occur: trams, birds, rolling containers. A drive of eight seconds shows half of them, and a mean
over classes would hang on a few points each. `PANDASET_COARSE` merges them into 15 that are near to those of
SemanticKITTI and nuScenes: cars apart from trucks (pickups are trucks, as in nuScenes), bus and rail as one, whatever
has two wheels as one. Markings stay apart from the road, unlike there: they lie in its surface, and their brightness
alone tells them, so that they show what a coarse grid loses. Mirror images, smoke, spray and animals are in no class.
"""

PANDASET_CLASSES = (
    *("Smoke", "Exhaust", "Spray or rain", "Reflection", "Vegetation", "Ground", "Road"),
    *("Lane Line Marking", "Stop Line Marking", "Other Road Marking", "Sidewalk", "Driveway"),
    *("Car", "Pickup Truck", "Medium-sized Truck", "Semi-truck", "Towed Object", "Motorcycle"),
    *("Other Vehicle - Construction Vehicle", "Other Vehicle - Uncommon", "Other Vehicle - Pedicab"),
    *("Emergency Vehicle", "Bus", "Personal Mobility Device", "Motorized Scooter", "Bicycle", "Train"),
    *("Trolley", "Tram / Subway", "Pedestrian", "Pedestrian with Object", "Animals - Bird"),
    *("Animals - Other", "Pylons", "Road Barriers", "Signs", "Cones", "Construction Signs"),
    *("Temporary Construction Barriers", "Rolling Containers", "Building", "Other Static Object"),
)
"""Names as the data set spells them, in the order of its numbers 1 to 42."""

PANDASET_COARSE: dict[str, tuple[str, ...]] = {
    "car": ("Car",),
    "truck": ("Pickup Truck", "Medium-sized Truck", "Semi-truck"),
    "bus or tram": ("Bus", "Train", "Trolley", "Tram / Subway"),
    "other vehicle": (
        *("Towed Object", "Other Vehicle - Construction Vehicle", "Other Vehicle - Uncommon"),
        *("Other Vehicle - Pedicab", "Emergency Vehicle"),
    ),
    "two-wheeler": ("Motorcycle", "Personal Mobility Device", "Motorized Scooter", "Bicycle"),
    "pedestrian": ("Pedestrian", "Pedestrian with Object"),
    "road": ("Road",),
    "road marking": ("Lane Line Marking", "Stop Line Marking", "Other Road Marking"),
    "sidewalk": ("Sidewalk",),
    "other ground": ("Ground", "Driveway"),
    "vegetation": ("Vegetation",),
    "building": ("Building",),
    "sign": ("Signs", "Construction Signs"),
    "barrier or cone": ("Pylons", "Road Barriers", "Cones", "Temporary Construction Barriers"),
    "other object": ("Rolling Containers", "Other Static Object"),
}
"""The 15 coarse classes and what is merged into each; classes that are in none are ignored."""
