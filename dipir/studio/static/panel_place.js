// Tab "Place": the objects, where they stand, how tall they are, what they are made of.

import {button, h, icon, iconButton, rebuilt, text} from "./dom.js";
import {fileButton, group, logScale, slider} from "./controls.js";
import {hexOf, linearOf, wrap} from "./geometry.js";
import {MESHES} from "./panel_open.js";

const VALUES = {roughness: "Roughness", metallic: "Metallic", transmission: "Glass"};

export class PanelPlace {
  constructor(node, store, actions) {
    Object.assign(this, {store, actions});
    const of = (op, key) => (v) => ({op, object: store.object.id, [key]: v});
    const both = (make) => ({input: (v) => store.object && actions.drag(make(v)), done: (v) => store.object
      && actions.commit(make(v))});
    this.list = h("ul", {class: "objects", testid: "object-list"});
    this.none = h("p", {class: "under"}, "No object yet. Drop a mesh anywhere, or choose one.");
    this.height = slider({label: "Height", testid: "object-height", min: 0.02, max: 5, unit: "m",
      scale: logScale(0.02, 5), digits: 3,
      wide: [0.001, 1000], ...both(of("size", "height_m"))});
    this.yaw = slider({label: "Turn", testid: "object-yaw", min: -180, max: 180, step: 1, unit: "°", digits: 1,
      wide: [-360, 360],
      ...both((v) => ({op: "turn", object: store.object.id, yaw_deg: wrap(v)}))});
    this.fault = h("p", {class: "error"});
    this.hint = h("p", {class: "under"},
      "Click the ground: the object stands there. Drag it to move it, turn the wheel over it to turn it, "
      + "pull the handle above it to make it taller.");
    this.where = group("Object", this.fault, this.height.node, this.yaw.node, this.hint);
    this.part = h("select", {"aria-label": "Part", on: {change: () => store.set({part: this.part.value})}});
    const paint = (values) => ({op: "material", object: store.object.id, part: store.ui.part, values});
    this.colour = h("input", {type: "color", "aria-label": "Colour", testid: "material-colour", on: {
      input: () => actions.drag(paint({base_color: linearOf(this.colour.value)})),
      change: () => actions.commit(paint({base_color: linearOf(this.colour.value)}))}});
    this.file = h("span", {class: "under"});
    this.sliders = Object.fromEntries(Object.entries(VALUES).map(([key, label]) => [key,
      slider({label, testid: `material-${key}`,
      min: 0, max: 1, step: 0.01, note: () => "", ...both((v) => paint({[key]: v}))})]));
    this.reset = button("As in the file", () => actions.commit(paint({base_color: null, roughness: null, metallic: null,
      transmission: null})), {testid: "material-reset"});
    this.material = group("Material", h("div", {class: "row"}, this.part, this.colour, this.reset), this.file,
      ...Object.values(this.sliders).map((n) => n.node));
    node.append(group("Objects", this.list, this.none,
      fileButton({label: "Add an object", accept: MESHES, mark: icon("plus"),
      testid: "add-object", taken: (files) => actions.files(files, "asset")}).node), this.where, this.material);
  }

  update(state, ui) {
    const objects = state?.objects ?? [], object = this.store.object;
    rebuilt(this.list, JSON.stringify([objects.map((o) => [o.id, o.name, o.error]), state?.selected]),
      () => objects.map((o) => h("li",
      {class: o.id === state.selected ? "chosen" : ""},
      h("button", {type: "button", class: "name", "aria-pressed": String(o.id === state.selected),
        on: {click: () => this.actions.commit({op: "select", object: o.id})}}, o.name, o.error
          ? h("small", {class: "error"}, "not shown") : null),
      iconButton("twice", `Duplicate ${o.name}`, () => this.actions.commit({op: "duplicate", object: o.id})),
      iconButton("trash", `Remove ${o.name}`, () => this.actions.commit({op: "remove", object: o.id})))));
    this.none.hidden = objects.length > 0;
    this.where.hidden = this.material.hidden = !object;
    if (!object) return;
    this.fault.hidden = !object.error;
    text(this.fault, object.error ?? "");
    this.height.set(object.height_m);
    this.yaw.set(wrap(object.yaw_deg));
    this.paints(object, ui);
  }

  paints(object, ui) {
    const parts = object.parts ?? [];
    const part = parts.includes(ui.part) ? ui.part : "*";
    if (part !== ui.part) this.store.ui.part = part;
    rebuilt(this.part, JSON.stringify([object.id, parts]), () => [h("option", {value: "*"}, "all parts"),
      ...(parts.length > 1 ? parts : []).map((p) => h("option", {value: p}, p))]);
    this.part.value = part;
    this.part.hidden = parts.length < 2;
    const values = {...object.material?.["*"], ...object.material?.[part]};
    if (document.activeElement !== this.colour) this.colour.value = values.base_color ? hexOf(values.base_color)
      : "#808080";
    this.colour.classList.toggle("unset", !values.base_color);
    const own = [values.base_color ? "" : "colour",
      ...Object.entries(VALUES).map(([key, label]) => (Number.isFinite(values[key]) ? "" : label.toLowerCase()))];
    const left = own.filter(Boolean);
    text(this.file, left.length ? `As in the file: ${left.join(", ")}.` : "");
    for (const [key, n] of Object.entries(this.sliders)) n.set(values[key] ?? {roughness: 0.5, metallic: 0,
      transmission: 0}[key]);
  }
}
