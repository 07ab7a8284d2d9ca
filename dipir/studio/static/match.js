// "Match the shadow": three clicks on the photo tell where the sun is.

import {attrs, button, h, s} from "./dom.js";
import {round} from "./geometry.js";

const STEPS = ["Click where a thing in the photo meets the ground.", "Click the tip of its shadow.",
  "Click the top of the thing itself, or skip: then the sun's height stays as it is."];

export class Match {
  constructor(stage, store, actions, layer, banner) {
    Object.assign(this, {stage, store, actions, banner});
    this.path = s("path", {class: "match"});
    this.dots = [0, 1, 2].map(() => s("circle", {class: "match-dot", r: 5}));
    this.group = s("g", {}, this.path, ...this.dots);
    layer.append(this.group);
    stage.hover = (pixel) => {
      if (!store.ui.match) return;
      this.at = pixel;
      store.changed();
    };
  }

  begin() {
    this.at = null;
    this.store.set({match: []});
    this.stage.canvas.focus();
  }

  stop() {
    this.store.set({match: null});
  }

  tool() {
    return {move: () => {}, up: (_, pixel) => this.add(pixel)};
  }

  add(pixel) {
    const points = [...this.store.ui.match, pixel.map((v) => round(v, 1))];
    this.store.set({match: points});
    if (points.length === 3) this.send();
  }

  /** With two points or three. */
  send() {
    const [foot, tip, top] = this.store.ui.match ?? [];
    if (!tip) return;
    this.stop();
    this.actions.commit({op: "match", foot, tip, top: top ?? null});
  }

  update(state, ui) {
    const points = ui.match;
    this.banner.hidden = !points;
    attrs(this.group, {display: points ? "inline" : "none"});
    this.stage.canvas.classList.toggle("aim", Boolean(points));
    if (!points) { delete this.banner.dataset.step; return; }
    if (this.banner.dataset.step !== String(points.length)) {
      this.banner.dataset.step = String(points.length);
      this.banner.replaceChildren(h("b", {}, `${Math.min(3, points.length + 1)} of 3`),
        h("span", {}, STEPS[points.length] ?? ""),
        ...(points.length === 2 ? [button("Skip (Enter)", () => this.send(), {class: "primary"})] : []),
        button("Cancel (Esc)", () => this.stop()));
    }
    const shown = [...points, ...(this.at && points.length < 3 ? [this.at] : [])].map((p) => this.stage.out(p));
    const line = (a, b) => (a && b ? `M${a}L${b}` : "");
    attrs(this.path, {d: line(shown[0], shown[1]) + line(shown[0], shown[2])});
    this.dots.forEach((dot, k) => attrs(dot, shown[k] ? {cx: shown[k][0], cy: shown[k][1], display: "inline"}
      : {display: "none"}));
  }
}
