"""Path replay backpropagation that shows the objects and nothing behind them.

Mitsuba's ``hide_emitters`` hides visible area lights too (an emissive part would vanish) and lets the environment shine
through cut-outs. Here camera rays are first carried through cut-outs to an opaque hit; rays without one stay black and
transparent, the others are traced with every emitter visible.
"""
from __future__ import annotations

import functools

import drjit as dr

from dipir.render.backend import mitsuba
from dipir.render.rays import MAX_CUTOUTS, opacity


@functools.lru_cache(maxsize=1)
def _register() -> str:
    """Define and register the plugin; its base class exists only once a variant is set."""
    mi = mitsuba()
    from mitsuba.ad.integrators.prb import PRBIntegrator

    class ObjectPath(PRBIntegrator):
        """Properties: those of ``prb``, and ``masked`` (some material has cut-outs)."""

        def __init__(self, props):
            super().__init__(props)
            self.masked = props.get("masked", False)

        def sample(self, mode, scene, sampler, ray, δL, state_in, active, **kwargs):
            ray, hit = _to_opaque(scene, sampler, mi.Ray3f(ray), mi.Bool(active), self.masked)
            L, valid, aovs, state = super().sample(mode, scene, sampler, ray, δL, state_in, hit, **kwargs)
            return L, valid & hit, aovs, state

    mi.register_integrator("dipir_object_path", lambda props: ObjectPath(props))
    return "dipir_object_path"


def _to_opaque(scene, sampler, ray, active, masked: bool):
    """(ray, hit): the ray moved past cut-outs, each passed with probability 1 - opacity; whether it meets a surface.
    Both phases of path replay call this with the same random numbers."""
    if not masked:
        return ray, active & scene.ray_test(ray, active)
    searching, hit = active, active & False
    for _ in range(MAX_CUTOUTS):
        si = scene.ray_intersect(ray, searching)
        searching &= si.is_valid()
        solid = dr.detach(opacity(si)) > sampler.next_1d()
        hit |= searching & solid
        searching &= ~solid
        ray = dr.select(searching, si.spawn_ray(ray.d), ray)
    return ray, hit


def object_integrator(depth: int, masked: bool):
    """The integrator of the object pass; depth 1 = direct light only."""
    return mitsuba().load_dict({"type": _register(), "max_depth": depth + 1, "rr_depth": 64, "hide_emitters": False,
                                "masked": masked})
