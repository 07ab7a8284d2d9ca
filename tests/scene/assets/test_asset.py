"""Loading: values of materials, geometry, units and axes, on tiny files made here."""


from dipir.scene.assets.asset import asset_hash
from dipir.scene.assets.load import load_asset
from tests.support.asset_samples import BOX, gltf, write


def test_hash_sees_geometry_and_material_but_not_names(tmp_path):
    material = {"name": "a", "pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0, 1]}}
    one = asset_hash(load_asset(write(tmp_path, gltf(material=material))))
    assert one == asset_hash(load_asset(write(tmp_path, gltf(material=material | {"name": "b"}), "b.gltf")))
    assert one != asset_hash(load_asset(write(tmp_path, gltf(material=material | {"emissiveFactor": [1, 0, 0]}))))
    assert one != asset_hash(load_asset(write(tmp_path, gltf(BOX * 1.01, material=material))))
