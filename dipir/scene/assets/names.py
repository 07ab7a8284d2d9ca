"""What an asset shows, in words, from its file's name or from the names in the file: the subject of a first prompt."""
from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from dipir.errors import DipirError
from dipir.scene.assets.asset import Asset
from dipir.scene.assets.files import read_asset_file
from dipir.scene.assets.gltf import stated_names

NOTHING = "an object"
_EXPORT = set("""final export exported untitled unnamed lod lowpoly highpoly hipoly midpoly gltf glb obj fbx stl ply usd
    usdz blend mtl material texture textures textured pbr uv uvs baked retopo decimated optimized optimised draco rigged
    animated wip tmp temp sketchfab rootnode root node geometry geo polygonal primitive empty null default img scan
    gameready download downloaded merged joined combined px""".split())
_AT_THE_END = set("""model models mesh meshes scene object objects thing asset assets copy test new old low high mid
    poly file version ver rev group collection clean part world the of for and with a an in on to""".split())
_AT_THE_START = {"sm", "sk", "mesh", "object", "asset", "scene", "my", "the", "a", "an"}
_SHAPES = {"cube", "plane", "sphere", "cylinder", "icosphere", "circle", "cone", "box", "mball", "curve"}
_SPELT = {"tv", "led", "vr", "pc", "cd", "dvd", "usb", "suv", "bbq", "atm", "lcd", "ufo", "lp"}
_SHORT = {"ox", "of", "in", "on", "to", "an"} | _SPELT
_UNCOUNTED = set("""furniture food grass tableware cutlery silverware people men women children bread rice fruit luggage
    clothing moss ivy gravel sand snow cattle mice feet geese sheep glassware cookware jewelry jewellery
    equipment""".split())
_ONE_WITH_S = re.compile(r"(ss|us|is|os|as)$|^lens$")
_MANY_AFTER_ALL = set("""glasses sunglasses sofas pianos radios videos photos pizzas pandas cameras bananas menus
    umbrellas zebras""".split())
_UUID = re.compile(r"[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}", re.IGNORECASE)


def prompt_of(asset: Asset) -> tuple[str, str]:
    """(prompt, where it is from): "a photo of a wooden table", never empty.

    The subject is the file's name in words; where that says nothing ("model", "mesh_001", hexadecimal numbers), the
    first of a glTF's title and the names of its scenes, nodes and meshes, or of an OBJ's parts, that says something.
    """
    subject = words_of(asset.path.stem if asset.path else "")
    if subject:
        return f"a photo of {with_article(subject)}", "The prompt is made from the file's name."
    for name in _names_inside(asset):
        subject = words_of(name, inside=True)
        if subject:
            return f"a photo of {with_article(subject)}", f"The prompt is made from the name '{name[:80]}' in the file."
    return f"a photo of {NOTHING}", "Neither the file's name nor what is in it says what it shows; correct the prompt."


def _names_inside(asset: Asset) -> Iterable[str]:
    if asset.path is not None and asset.path.suffix.lower() in (".glb", ".gltf"):
        try:
            return stated_names(asset.path, read_asset_file(asset.path))
        except DipirError:
            return ()
    return dict.fromkeys(part.name.removesuffix(asset.path.name if asset.path else "") for part in asset.parts)


def words_of(name: str, inside: bool = False) -> str:
    """"SM_WoodenChair_v2_LOD0" -> "wooden chair": split at case, marks and numbers, in lower case; what speaks of the
    file and not of the thing is left out. Empty where nothing is left. ``inside`` : the name of a node, where a
    "Cube.001" is what a modelling program calls whatever was made from one."""
    name = _UUID.sub(" ", re.sub(r"\.\w{2,5}$", "", name) if inside else name)
    split = [word for word in re.split(r"[\W_]+", name) if word]
    split = [word for word in split if not _is_code(word)]
    split = [piece for word in split for piece in _at_case(word)]
    words = [word for word in (re.sub(r"\d+$", "", w).lower() for w in split) if _is_word(word)]
    words = [word for word in _without_pairs(words) if word not in _EXPORT and not (inside and word in _SHAPES)]
    while words and words[-1] in _AT_THE_END:
        words.pop()
    while words and words[0] in _AT_THE_START:
        words.pop(0)
    return " ".join(word.upper() if word in _SPELT else word for word in words)


def _at_case(word: str) -> list[str]:
    return re.sub(r"(?<=[a-z\d])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", word).split()


def _is_code(word: str) -> bool:
    """A number, a size ("2k", "15x20", "100cm"), a version, a level of detail, a hexadecimal or random id."""
    if re.fullmatch(r"(v|ver|rev|r|lod|x)?\d+([kxp]|px|[cm]?m|in|ft|kb|mb|\w?x\d+\w*)?", word, re.IGNORECASE):
        return True
    mixed = len(re.findall(r"\d+|[^\W\d]+", word)) >= 3
    return mixed or bool(re.fullmatch(r"(?=.*\d)[\da-f]{8,}|\d+[a-z]+", word, re.IGNORECASE))


def _is_word(word: str) -> bool:
    if not word or not word.isascii():
        return bool(word)
    return word in _SHORT or (len(word) > 2 and re.search(r"[aeiou]|.y", word) is not None) or word in _AT_THE_START


def _without_pairs(words: list[str]) -> list[str]:
    """"low poly", "high poly", "game ready" and "hi res" go together."""
    pairs = {(a, b) for a in ("low", "high", "mid", "hi", "lo") for b in ("poly", "res", "resolution", "detail")}
    gone = {k + d for k in range(len(words) - 1) for d in (0, 1)
            if (words[k], words[k + 1]) in pairs | {("game", "ready")}}
    return [word for k, word in enumerate(words) if k not in gone]


def with_article(subject: str) -> str:
    """"an old chair", "a uniform", "bananas": the subject as it stands in a sentence; in other scripts as it is."""
    last = subject.split(" of ")[0].split()[-1].lower()
    plural = last in _MANY_AFTER_ALL or (last.endswith("s") and len(last) > 3 and not _ONE_WITH_S.search(last))
    first = _plain(subject.split()[0])
    if plural or last in _UNCOUNTED or not first[:1].isascii():
        return subject
    if first.isupper():
        vowel = first[0] in "AEFHILMNORSX" if not re.match("U[FS]", first) else False
    else:
        vowel = re.match(r"[aeiou]|hour|honest|heir|honou?r", first) is not None and not re.match(
            r"uni([^nm]|mo)|us[ae]|eu|one|once|ura|ute|uto|ewe|ubiq|ukulele", first)
    return f"{'an' if vowel else 'a'} {subject}"


def _plain(word: str) -> str:
    """Without accents."""
    return "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))
