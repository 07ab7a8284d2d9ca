// The camera on the stage: the ground grid, the horizon to drag, and two edges that give the field of view.

import {attrs, draggable, s, text} from "./dom.js";
import {anglesOf, fovOfParallels, fovOfRightAngle, horizonOf, meeting, round} from "./geometry.js";

const MARGIN = 16;

export class CameraView {
  constructor(stage, store, actions, layer) {
    Object.assign(this, {stage, store, actions});
    this.grid = s("path", {class: "grid"});
    this.horizon = s("line", {class: "horizon"});
    this.grip = s("line", {class: "horizon-grip", tabindex: 0, role: "slider",
      "aria-label": "Horizon: pitch of the camera"});
    this.ends = [0, 1].map((k) => s("circle", {class: "handle", r: 8, tabindex: 0, role: "slider",
      "aria-label": `${k ? "Right" : "Left"} end of the horizon: roll of the camera`}));
    this.name = s("text", {class: "label", "text-anchor": "middle"});
    this.fans = s("path", {class: "fan"});
    this.edges = s("path", {class: "edges"});
    this.grips = [0, 1, 2, 3].map((k) => s("circle", {class: "handle edge", r: 8,
      "aria-label": `Edge ${k < 2 ? 1 : 2}, end ${k % 2 + 1}`}));
    this.point = s("circle", {class: "vanishing", r: 5});
    this.lines = s("g", {}, this.fans, this.edges, this.point, ...this.grips);
    this.handles = s("g", {}, this.horizon, this.grip, ...this.ends, this.name, this.lines);
    this.window = s("rect");
    layer.append(s("clipPath", {id: "photo"}, this.window), s("g", {"clip-path": "url(#photo)"}, this.grid),
      this.handles);
    this.dragHorizon();
    this.dragEdges();
  }

  get camera() {
    return this.store.shown?.camera;
  }

  dragHorizon() {
    const drag = (node, shares) => {
      let from, y;
      draggable(node, {
        start: (e) => {
          if (!this.camera) return false;
          from = {camera: this.camera, ends: horizonOf(...this.stage.size, this.camera)};
          y = this.stage.pixel(e)[1];
        },
        move: (e) => this.tilt(from, this.stage.pixel(e)[1] - y, shares, true),
        end: () => this.finish(),
      });
      node.addEventListener("keydown", (e) => {
        const step = {ArrowUp: -1, ArrowDown: 1}[e.key] * (e.shiftKey ? 20 : 4);
        if (!step || !this.camera) return;
        e.preventDefault();
        e.stopPropagation();
        this.tilt({camera: this.camera, ends: horizonOf(...this.stage.size, this.camera)}, step, shares, false);
      });
    };
    drag(this.grip, [1, 1]);
    drag(this.ends[0], [1, 0]);
    drag(this.ends[1], [0, 1]);
  }

  tilt(from, dy, shares, dragging) {
    const [w, h] = this.stage.size;
    const ends = from.ends.map((y, k) => y + dy * shares[k]);
    const {pitch_deg, roll_deg} = anglesOf(w, h, from.camera.fov_deg, ...ends);
    const level = shares[0] === shares[1];
    this.last = {op: "camera", pitch_deg: round(pitch_deg, 2), ...(level ? {} : {roll_deg: round(roll_deg, 2)})};
    if (dragging) this.actions.drag(this.last); else { this.actions.soon(this.last); this.last = null; }
  }

  finish() {
    if (this.last) this.actions.commit(this.last);
    this.last = null;
  }

  // ---- two edges ----
  /** Two edges where the camera as it is would have them: they run away from the camera, or across as well. */
  fresh() {
    const [w, h] = this.stage.size, camera = this.camera;
    if (!w || !camera) return null;
    const [y0, y1] = horizonOf(w, h, camera), goal = [w / 2, (y0 + y1) / 2];
    const towards = (x, from, to) => [from, to].map((share) => {
      const y = h * share, t = (y - 0.95 * h) / (goal[1] - 0.95 * h);
      return [x + (goal[0] - x) * t, y];
    });
    const far = Math.min(0.85, Math.max(0.6, goal[1] / h + 0.15));
    if (this.store.ui.right) return [[[0.25 * w, 0.9 * h], [0.45 * w, far * h]],
      [[0.75 * w, 0.9 * h], [0.55 * w, far * h]]];
    return [towards(0.15 * w, 0.92, far), towards(0.85 * w, 0.92, far)];
  }

  dragEdges() {
    this.grips.forEach((grip, k) => {
      draggable(grip, {
        move: (e) => {
          const lines = this.store.ui.lines.map((line) => line.map((p) => [...p]));
          lines[k < 2 ? 0 : 1][k % 2] = this.stage.pixel(e);
          this.store.set({lines});
          const found = this.found(lines);
          if (!found.why) this.actions.drag({op: "camera", ...found});
        },
        end: () => {
          const found = this.found(this.store.ui.lines);
          if (found.why) this.actions.messages.error(found.why); else this.actions.commit({op: "camera", ...found});
        },
      });
    });
  }

  found([one, other]) {
    const [w, h] = this.stage.size;
    // Of the camera before this drag: its own answers must not feed back.
    const camera = this.store.state.camera;
    const made = (this.store.ui.right ? fovOfRightAngle : fovOfParallels)(w, h, camera, one, other);
    return made.why ? made : Object.fromEntries(Object.entries(made).map(([key, v]) => [key, round(v, 2)]));
  }

  // ---- drawing ----
  update(state, ui) {
    const camera = state?.camera;
    const shown = Boolean(state?.plate && camera);
    attrs(this.grid, {display: shown && ui.grid && (ui.tab === "open" || ui.gridAlways) ? "inline" : "none"});
    attrs(this.handles, {display: shown && ui.tab === "open" ? "inline" : "none"});
    if (!shown) return;
    const out = (p) => this.stage.out(p);
    const path = (pairs) =>
      pairs.map(([a, b]) => `M${out(a).map((v) => v.toFixed(1))}L${out(b).map((v) => v.toFixed(1))}`).join("");
    attrs(this.grid, {d: path(camera.grid ?? [])});
    const [left, top] = out([0, 0]), [pw, ph] = this.stage.size.map((v) => v * this.stage.scale);
    attrs(this.window, {x: left, y: top, width: pw, height: ph});
    if (ui.tab !== "open") return;
    const [w, h] = this.stage.size, [y0, y1] = horizonOf(w, h, camera);
    const a = out([0, y0]), b = out([w, y1]), [rw, rh] = this.stage.room;
    attrs(this.horizon, {x1: a[0], y1: a[1], x2: b[0], y2: b[1]});
    // Handles stay in reach when the horizon is out of sight.
    const near = ([x, y]) => [Math.min(rw - MARGIN, Math.max(MARGIN, x)), Math.min(rh - MARGIN, Math.max(MARGIN, y))];
    const [na, nb] = [near(a), near(b)];
    attrs(this.grip, {x1: na[0] + 14, y1: na[1], x2: nb[0] - 14, y2: nb[1], "aria-valuenow": round(camera.pitch_deg, 1),
      "aria-valuetext": `pitch ${round(camera.pitch_deg, 1)} degrees`});
    [na, nb].forEach(([x, y], k) => attrs(this.ends[k], {cx: x, cy: y, "aria-valuenow": round(camera.roll_deg, 1),
      "aria-valuetext": `roll ${round(camera.roll_deg, 1)} degrees`}));
    attrs(this.name, {x: (na[0] + nb[0]) / 2, y: (na[1] + nb[1]) / 2 - 8});
    text(this.name, `horizon · pitch ${round(camera.pitch_deg, 1)}° · roll ${round(camera.roll_deg, 1)}°`);
    attrs(this.lines, {display: ui.lines ? "inline" : "none"});
    if (!ui.lines) return;
    const [one, other] = ui.lines, across = [[0, y0], [w, y1]];
    const goals = ui.right ? [meeting(one, across), meeting(other, across)]
      : [meeting(one, other), meeting(one, other)];
    attrs(this.edges, {d: path(ui.lines)});
    attrs(this.fans, {d: path(ui.lines.map((line, k) => [line[1], goals[k] ?? line[1]]))});
    const spot = !ui.right && goals[0] ? out(goals[0]) : null;
    attrs(this.point, spot ? {cx: spot[0], cy: spot[1], display: "inline"} : {display: "none"});
    this.grips.forEach((grip, k) => {
      const [x, y] = out(ui.lines[k < 2 ? 0 : 1][k % 2]);
      attrs(grip, {cx: x, cy: y});
    });
  }
}
