"""Loading: values of materials, geometry, units and axes, on tiny files made here."""


import numpy as np

from dipir.scene.assets.asset import Asset, Material, Part, Sampling, asset_hash
from dipir.scene.assets.load import load_asset
from tests.support.asset_samples import BOX, gltf, write


def test_hash_sees_geometry_and_material_but_not_names(tmp_path):
    material = {"name": "a", "pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0, 1]}}
    one = asset_hash(load_asset(write(tmp_path, gltf(material=material))))
    assert one == asset_hash(load_asset(write(tmp_path, gltf(material=material | {"name": "b"}), "b.gltf")))
    assert one != asset_hash(load_asset(write(tmp_path, gltf(material=material | {"emissiveFactor": [1, 0, 0]}))))
    assert one != asset_hash(load_asset(write(tmp_path, gltf(BOX * 1.01, material=material))))


def test_hash_of_what_came_later_counts_where_it_is_used():
    """Clear coat, sheen and sampling change a hash; their defaults leave it what it was without these fields."""
    vertices, faces = np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.uint32)

    def hashed(**values):
        return asset_hash(Asset((Part("a", vertices, faces, material=Material(**values)),)))

    changed = [{}, {"clearcoat": 0.5}, {"sheen": 0.5}, {"sampling": (("base_color", Sampling("clamp")),)},
               {"sampling": (("base_color", Sampling("mirror")),)}]
    assert len({hashed(**values) for values in changed}) == 5
    assert hashed() == "4372262d79f99328e68d272b8e74a0a7a208666878f3b53c9201700e00e02dec"
