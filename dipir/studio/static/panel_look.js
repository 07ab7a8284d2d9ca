// Tab "Look": before and after, zoom, layers, the size of the live picture. And the wipe on the stage.

import {attrs, button, draggable, h, s, text} from "./dom.js";
import {group, slider, tick} from "./controls.js";
import {clamp, round} from "./geometry.js";

const SIZES = [256, 384, 512, 768];
export const LIVE_KEY = "dipir-studio-live";

export const liveSize = () => {
  const kept = Number(localStorage.getItem(LIVE_KEY));
  return SIZES.includes(kept) ? kept : 512;
};

const LAYERS = {picture: "Picture", object: "Object", shadow: "Shadow", difference: "Difference"};

export class PanelLook {
  constructor(node, store, stage, live) {
    Object.assign(this, {store, stage});
    this.wipe = slider({label: "Wipe", testid: "wipe", min: 0, max: 100, step: 1, unit: "%", digits: 0,
      note: () => "Photo on the left, picture on the right.",
      input: (v) => store.set({wipe: v / 100, before: false}), done: (v) => store.set({wipe: v / 100, before: false})});
    this.before = button("Before (B)", () => store.set({before: !store.ui.before}), {"aria-pressed": "false"});
    this.layers = Object.entries(LAYERS).map(([key, label]) => [key, button(label, () => store.set({layer: key}),
      {testid: `layer-${key}`})]);
    this.sharp = tick({label: "Keep the photo sharp while the picture is small",
      change: (on) => store.set({sharp: on})});
    this.size = h("select", {"aria-label": "Longest side of the live picture", testid: "live-size", on: {change: () => {
      localStorage.setItem(LIVE_KEY, this.size.value);
      live.view(Number(this.size.value));
    }}}, ...SIZES.map((v) => h("option", {value: v}, `${v} pixels`)));
    this.size.value = liveSize();
    this.speed = h("p", {class: "under"});
    node.append(group("Before and after", this.wipe.node, h("div", {class: "row"}, this.before)),
      group("Zoom", h("div", {class: "row"}, button("Fit (F)", () => stage.fit()),
        button("1:1 (1)", () => stage.oneToOne()),
        button("200 %", () => stage.zoomTo(2 / devicePixelRatio)))),
      group("Layers", h("div", {class: "choice", role: "group", "aria-label": "Layers"},
        ...this.layers.map(([, node]) => node)),
      h("p", {class: "under"}, "The object alone, what its shadow leaves of the light, what differs from the photo.")),
      group("Live picture", h("label", {class: "field"}, h("span", {class: "label"}, "While dragging"), this.size),
        this.sharp.node, this.speed));
  }

  update(state, ui) {
    this.wipe.set(100 * ui.wipe);
    this.before.setAttribute("aria-pressed", String(ui.before));
    for (const [key, node] of this.layers) node.setAttribute("aria-pressed", String(ui.layer === key));
    this.sharp.set(ui.sharp);
    const meta = this.stage.frame?.meta;
    text(this.speed, meta?.w ? `Newest picture: ${meta.w} × ${meta.h}${meta.ms ? `, ${Math.round(meta.ms)} ms` : ""}.`
      : "");
  }
}

/** The line between before and after, on the stage. */
export class Wipe {
  constructor(stage, store, layer) {
    Object.assign(this, {stage, store});
    this.line = s("line", {class: "wipe"});
    this.knob = s("circle", {class: "handle", r: 11, tabindex: 0, role: "slider", "aria-label": "Before and after",
      "aria-valuemin": 0, "aria-valuemax": 100});
    this.group = s("g", {}, this.line, this.knob);
    layer.append(this.group);
    draggable(this.knob, {move: (e) => store.set({wipe: clamp(stage.pixel(e)[0] / stage.size[0], 0, 1),
      before: false})});
    this.knob.addEventListener("keydown", (e) => {
      const step = {ArrowLeft: -0.02, ArrowRight: 0.02}[e.key];
      if (!step) return;
      e.preventDefault();
      e.stopPropagation();
      store.set({wipe: clamp(store.ui.wipe + step, 0, 1)});
    });
  }

  update(state, ui) {
    const on = Boolean(state?.plate) && !ui.before && (ui.tab === "look" || ui.wipe > 0);
    attrs(this.group, {display: on ? "inline" : "none"});
    if (!on) return;
    const [w, h] = this.stage.size, [x, y0] = this.stage.out([ui.wipe * w, 0]), [, y1] = this.stage.out([0, h]);
    const [, room] = this.stage.room;
    attrs(this.line, {x1: x, x2: x, y1: y0, y2: y1, display: ui.wipe > 0 ? "inline" : "none"});
    attrs(this.knob, {cx: x, cy: clamp((Math.max(0, y0) + Math.min(room, y1)) / 2, 12, room - 12),
      "aria-valuenow": round(100 * ui.wipe, 0)});
  }
}
