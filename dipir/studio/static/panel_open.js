// Tab "Open": photo and object, earlier results, the camera.

import {button, h, icon, rebuilt, text} from "./dom.js";
import {field, fileButton, fold, group, slider, tick} from "./controls.js";
import {api} from "./net.js";

export const PLATES = ".jpg,.jpeg,.png,.webp,.tif,.tiff,.dpx,.exr,.hdr";
export const MESHES = ".glb,.gltf,.obj,.ply,.stl";

export class PanelOpen {
  constructor(node, store, actions, view) {
    Object.assign(this, {store, actions});
    const files = (kind) => (list) => actions.files(list, kind);
    this.files = group("Files",
      fileButton({label: "Photo", testid: "drop-plate", accept: PLATES, taken: files("plate"), mark: icon("photo"),
        hint: "JPEG, PNG, EXR, HDR"}).node,
      fileButton({label: "Object", testid: "drop-asset", accept: MESHES, taken: files("asset"), mark: icon("mesh"),
        hint: "GLB, glTF, OBJ, PLY, STL in one file"}).node,
      h("p", {class: "under"}, "Or drop files anywhere on the page."));
    this.list = h("ul", {class: "thumbs"});
    this.results = group("Earlier results", this.list);
    this.results.hidden = true;
    const number = (label, key, low, high, unit, step) => slider({label, testid: `camera-${key}`, min: low, max: high,
      step, unit,
      digits: 1, input: (v) => actions.drag({op: "camera", [key]: v}),
        done: (v) => actions.commit({op: "camera", [key]: v}),
      wide: key === "pitch_deg" || key === "roll_deg" ? [-89, 89] : [5, 170]});
    this.numbers = {pitch_deg: number("Pitch", "pitch_deg", -30, 60, "°", 0.1), roll_deg: number("Roll", "roll_deg",
      -20, 20, "°", 0.1),
      fov_deg: number("View", "fov_deg", 15, 120, "°", 0.1)};
    this.height = field({label: "Camera height", testid: "camera-height", min: 0.005, max: 10000, unit: "m", digits: 3,
      done: (v) => actions.commit({op: "camera", height_m: v})});
    this.trust = h("p", {class: "under"});
    this.snap = button("Back to the estimate", () => actions.commit({op: "camera_snap"}), {testid: "camera-snap"});
    this.grid = tick({label: "Grid (G)", testid: "grid", change: (on) => store.set({grid: on})});
    this.lines = tick({label: "Field of view by two edges", testid: "edges",
      change: (on) => store.set({lines: on ? view.fresh() : null})});
    this.kind = h("select", {"aria-label": "How the two edges lie on the ground", on: {change: () => {
      store.set({right: this.kind.value === "right"});
      store.set({lines: view.fresh()});
    }}}, h("option", {value: "parallel"}, "parallel on the ground"), h("option", {value: "right"},
      "at a right angle on the ground"));
    this.how = h("p", {class: "under"});
    this.camera = group("Camera", this.trust, ...Object.values(this.numbers).map((n) => n.node), this.height.node,
      h("div", {class: "row"}, this.grid.node, this.snap), this.lines.node, this.kind, this.how,
      fold("How to judge it", false,
        h("p", {class: "under"}, "The grid is the ground, a metre a cell for a camera at eye height. "
        + "It should lie on the floor and run with paving or boards. Drag the horizon up or down where the grid "
        + "rises or falls against the floor, its ends where it leans.")));
    node.append(this.files, this.camera, this.results);
    this.load();
  }

  /** Earlier results, when the server was given any. */
  async load() {
    let found;
    try {
      found = await api("/api/results");
    } catch { return; }
    if (!Array.isArray(found) || !found.length) return;
    this.results.hidden = false;
    rebuilt(this.list, JSON.stringify(found), () => found.map(({id, name}) => h("li", {}, h("button", {type: "button",
      class: "thumb", testid: `result-${id}`, on: {click: () => this.actions.post("/api/open", {result: id})}},
    h("img", {src: `/api/results/${encodeURIComponent(id)}/thumb`, alt: "", loading: "lazy"}), h("span", {}, name)))));
  }

  update(state, ui) {
    const camera = state?.camera;
    this.camera.hidden = !camera;
    if (!camera) return;
    for (const [key, n] of Object.entries(this.numbers)) n.set(camera[key]);
    this.height.set(camera.height_m);
    const sure = camera.confidence;
    const trust = Number.isFinite(sure) ? `Confidence ${Math.round(100 * sure)} %.` : "";
    text(this.trust, [camera.source, trust].filter(Boolean).join(". "));
    this.grid.set(ui.grid);
    this.lines.set(Boolean(ui.lines));
    this.kind.hidden = this.how.hidden = !ui.lines;
    text(this.how, ui.right
      ? "Lay each line along an edge on the ground, the two edges at a right angle. The horizon stays."
      : "Lay both lines along edges that are parallel on the ground, say the two sides of a path. The pitch stays.");
  }
}
